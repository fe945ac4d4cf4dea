-- The retry budget that processes share. Times are whole microseconds. The rules are those of budget.py beside this folder.
--
-- KEYS  1 state
-- ARGV  as `next_number` takes them below.
-- Gives the server's time, what was taken, what is left, and a number that grows from answer to answer.

local NEVER = -2 ^ 52
local LATELY = 60000000
local CALM = 0.9
local LARGEST_CROWD = 40
local KEEP = 3600000 -- milliseconds; a budget that nobody has drawn on for so long is full

local position = 0
local function next_number()
  position = position + 1
  return tonumber(ARGV[position])
end

local time = redis.call('TIME')
local here = time[1] * 1000000 + time[2]
if here > (next_number() or here) then return { here } end -- whoever asked has given up
local now = next_number() or here
local capacity, transient, throttled_price, first_try = next_number(), next_number(), next_number(), next_number()
local min_blind, blind_share, min_known, crowd_retries = next_number(), next_number(), next_number(), next_number()

local names = { 'now', 'count', 'level', 'blind', 'blind_since', 'known', 'taken', 'crowd', 'calls', 'before', 'ends' }
local is = {}
for number, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
  is[names[number]] = tonumber(value)
end
is.level = is.level or capacity
for _, name in ipairs({ 'blind', 'known', 'taken', 'crowd', 'calls', 'before' }) do is[name] = is[name] or 0 end
for _, name in ipairs({ 'blind_since', 'ends' }) do is[name] = is[name] or NEVER end
now = math.max(now, is.now or NEVER) -- a server's clock may be set back
is.now = now
is.count = math.max((is.count or 0) + 1, now)

local function turn(at)
  if at < is.ends then return end
  if at < is.ends + LATELY then
    is.before, is.ends = is.calls, is.ends + LATELY
  else
    is.before, is.ends = 0, at + LATELY
  end
  is.calls = 0
end

local function lately()
  turn(now)
  return is.calls + is.before * (is.ends - now) / LATELY
end

local function begins()
  return is.blind == 0 or now - is.blind_since >= LATELY
end

local function may_be_blind()
  if begins() or is.known == 0 then return true end
  return is.blind < math.max(min_blind, math.floor(blind_share * lately()))
end

local function take(throttled, crowd)
  local price = throttled and throttled_price or transient
  if is.level >= CALM * capacity then is.taken, is.crowd = 0, 0 end
  is.crowd = math.max(is.crowd, math.min(crowd, LARGEST_CROWD))
  local in_the_air = is.crowd > 1 and is.taken < crowd_retries * is.crowd
  if not in_the_air and (is.level < price or not (throttled or may_be_blind())) then return 0 end
  if not throttled then
    if begins() then
      is.known = (lately() >= min_known or (is.blind > 0 and is.known == 1)) and 1 or 0
      is.blind, is.blind_since = 0, now
    end
    is.blind = is.blind + 1
  end
  is.taken = is.taken + 1
  is.level = math.max(0, is.level - price)
  return price
end

-- What the process has to tell: what it took while it was alone, the calls that succeeded at first, the retries that did.
local owed, calls, since, refunds, refunded = next_number(), next_number(), next_number(), next_number(), next_number()
is.level = math.max(0, is.level - owed)
if calls > 0 then
  turn(now - since)
  is.calls = is.calls + calls
end
if calls + refunds > 0 then is.blind = 0 end
is.taken = math.max(0, is.taken - refunds)
is.level = math.min(is.level + calls * first_try + refunded, capacity)

local price = 0
if next_number() == 1 then
  price = take(next_number() == 1, next_number())
end

local known = {}
for _, name in ipairs(names) do
  known[#known + 1] = name
  known[#known + 1] = is[name]
end
redis.call('HSET', KEYS[1], unpack(known))
redis.call('PEXPIRE', KEYS[1], KEEP)
return { here, price, is.level, is.count }
