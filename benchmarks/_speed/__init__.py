"""How speed is measured: the libraries, what is put to them, and what is made of the figures.

Law of this folder: nothing here judges but `bars.py`. Whatever is timed is timed in turns, short ones, so that what else the machine does
meets all alike.
"""
