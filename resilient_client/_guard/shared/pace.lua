-- One decision about a budget that processes share. Times are whole microseconds, units whole millionths.
--
-- The rules are those of pace.py beside this folder, and their names are the same. Besides: who waits holds a place by a
-- lease that ends a while after the time that it was told; what a process had to leave out while it could not reach this
-- server is withheld from the others until it has told, or until that must have run out.
--
-- KEYS  1 state  2 sent (by when due)  3 line (by place)  4 leases of the line  5 costs  6 seen (processes, by when)
--       7 shares of the processes  8.. a log for each window: when it runs out, units, when it runs out, units ...
-- ARGV  as `next_argument` takes them below.
-- Gives the server's time, a word, microseconds to wait, place in line (or units), version, share of the process, its epoch.

local state, sent, line, leases, costs, seen, shares = unpack(KEYS, 1, 7)
local NEVER = -2 ^ 52
local ALWAYS = 2 ^ 52
local CHUNK = 64
local WHOLE = 1000000 -- all shares together
local CRUMBS = 1000 -- of that, for shares are rounded
local CALM = 60000000 -- at the most for which calls drip after a hold
local LATELY = 60000000 -- a process that was not seen for so long has no share
local GRAINS = 2048

local position = 0
local function next_argument()
  position = position + 1
  return ARGV[position]
end
local function next_number()
  return tonumber(next_argument())
end

local time = redis.call('TIME')
local here = time[1] * 1000000 + time[2]
if here > (next_number() or here) then return { here } end -- whoever asked has given up, and goes on alone
local now = next_number()
local real_time = not now
now = now or here
local owner = next_argument()
local known_epoch = next_argument() -- of the data that this process has dealt with; '': none
local new_epoch = next_argument() -- if there is none
local has_told = next_argument() == '1' -- all that it holds is in the reports below
local fixed_share = next_number() -- by configuration; -1: none
local told_share = next_number() -- when it was last here
local away_for = next_number() -- since it lost this server and went on alone; -1: it did not
local quiet = next_number() -- within which all who are busy have come back
local due = next_number()
local grace = next_number() -- of a lease
local windows = {}
for _ = 1, next_number() do
  windows[#windows + 1] = { budget = next_number(), kept = next_number(), per = next_number() }
end

-- What is known.
local names = { 'now', 'version', 'place', 'sent', 'waiting', 'held', 'drip', 'calm', 'lost_until', 'out', 'out_until',
  'shared', 'returned' }
local fields = { 'epoch', unpack(names) }
for number = 1, #windows do
  for _, name in ipairs({ 'used', 'merge_until', 'last_end', 'last_cost', 'withheld', 'until', 'brought' }) do
    fields[#fields + 1] = name .. number
  end
end
local values = redis.call('HMGET', state, unpack(fields))
local epoch = values[1]
local is = {}
for number, name in ipairs(names) do
  is[name] = tonumber(values[number + 1])
end
is.version, is.place, is.sent, is.waiting = is.version or 0, is.place or 0, is.sent or 0, is.waiting or 0
is.shared, is.returned = is.shared or 0, is.returned or 0
for _, name in ipairs({ 'held', 'drip', 'calm', 'lost_until', 'out', 'out_until' }) do
  is[name] = is[name] or NEVER
end
now = math.max(now, is.now or NEVER) -- a server's clock may be set back
is.now = now

local longest, slowest = windows[1], windows[1]
local longest_kept = 0
for number, window in ipairs(windows) do
  local base = #names + 1 + (number - 1) * 7
  window.log = KEYS[7 + number]
  window.number = number
  window.used = tonumber(values[base + 1] or 0)
  window.merge_until = tonumber(values[base + 2] or NEVER)
  window.last_end = tonumber(values[base + 3] or NEVER)
  window.last_cost = tonumber(values[base + 4] or 0)
  window.withheld = tonumber(values[base + 5] or 0)
  window.until_ = tonumber(values[base + 6] or NEVER)
  window.brought = tonumber(values[base + 7] or 0)
  window.ends, window.sums = {}, {} -- of the log, as far as somebody has looked
  if window.per > longest.per then longest = window end
  if window.budget / window.per < slowest.budget / slowest.per then slowest = window end
  longest_kept = math.max(longest_kept, window.kept)
end
local function at_the_rate(units)
  return math.floor(units * slowest.per / slowest.budget + 0.5)
end

-- Has this server lost what it knew?
local comes_back = false
if known_epoch ~= '' and known_epoch ~= epoch then
  if not has_told then
    return { here, 'lost', 0, 0, 0, 0, '' }
  end
  if now >= is.lost_until then
    is.lost_until = now + quiet + due + longest_kept
    is.shared, is.returned = 0, 0
    redis.call('DEL', seen, shares)
    for _, window in ipairs(windows) do window.brought = 0 end
  end
  comes_back = true
end
if not epoch then
  epoch = new_epoch
  redis.call('DEL', unpack(KEYS, 2)) -- whatever a server that was short of memory has kept
  if known_epoch == '' and real_time then
    -- It has just started, perhaps without its data: those who know of some come within the quiet time.
    local up = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
    if up * 1000000 <= quiet then
      is.held = now + quiet
    end
  end
end

-- The processes: whose share is whose, in all never more than the whole.
if away_for >= 0 then
  is.out = math.max(is.out, now - away_for)
  is.out_until = now + quiet + due + longest_kept
end
local forgotten = (now < is.out_until and is.out or now) - LATELY
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', '(' .. string.format('%.0f', forgotten))) do
  is.shared = is.shared - tonumber(redis.call('HGET', shares, gone) or 0)
  redis.call('ZREM', seen, gone)
  redis.call('HDEL', shares, gone)
end
local share = tonumber(redis.call('HGET', shares, owner) or nil)
if not share or now >= is.lost_until or fixed_share >= 0 then
  local others = is.shared - (share or 0)
  local fair = math.floor(WHOLE / (redis.call('ZCARD', seen) + (share and 0 or 1)))
  if now < is.lost_until then
    fair = told_share -- as it was; who is new has none until it is known who is there
  end
  share = fixed_share >= 0 and fixed_share or math.max(0, math.min(fair, WHOLE - others))
  is.shared = others + share
  redis.call('HSET', shares, owner, share)
end
redis.call('ZADD', seen, now, owner)
if comes_back and redis.call('HSETNX', shares, 'back ' .. owner, 1) == 1 then
  is.returned = is.returned + told_share
end

-- What processes that have not come back may have sent.
local withheld_share = 0
if now < is.out_until then
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', '(' .. string.format('%.0f', is.out))) do
    withheld_share = withheld_share + tonumber(redis.call('HGET', shares, one) or 0)
  end
end

-- The windows.
local function age(window)
  local gone, units = 0, 0
  while true do
    local entries = redis.call('LRANGE', window.log, gone, gone + 2 * CHUNK - 1)
    local count = 0
    while entries[count + 1] and tonumber(entries[count + 1]) <= now do
      units = units + tonumber(entries[count + 2])
      count = count + 2
    end
    gone = gone + count
    if count < 2 * CHUNK then break end
  end
  if gone > 0 then
    redis.call('LTRIM', window.log, gone, -1)
    window.used = window.used - units
  end
  if redis.call('EXISTS', window.log) == 0 then
    window.used, window.last_end = 0, NEVER
  end
end

local function spend(window, cost, at)
  local ends = math.max(at + window.kept, window.last_end) -- they stay in order, whenever they are told
  if ends <= now then return end
  window.used = window.used + cost
  if ends < window.merge_until and window.last_end > now then
    window.last_cost = window.last_cost + cost
    redis.call('LSET', window.log, -2, ends)
    redis.call('LSET', window.log, -1, window.last_cost)
  else
    redis.call('RPUSH', window.log, ends, cost)
    window.last_cost = cost
    window.merge_until = ends + window.per / GRAINS
  end
  window.last_end = ends
end

for _, window in ipairs(windows) do age(window) end

local answered = {}
local function log_answered()
  table.sort(answered, function(one, other) return one[1] < other[1] end)
  for _, each in ipairs(answered) do
    for _, window in ipairs(windows) do spend(window, each[2], each[1]) end
  end
  answered = {}
end

local function cost_of(id)
  return tonumber(redis.call('HGET', costs, id) or 0)
end

local function forget_sent(id)
  if redis.call('ZREM', sent, id) == 0 then return nil end
  local cost = cost_of(id)
  redis.call('HDEL', costs, id)
  is.sent = is.sent - cost
  return cost
end

local function leave(id)
  if redis.call('ZREM', line, id) == 0 then return nil end
  local cost = cost_of(id)
  redis.call('HDEL', costs, id)
  redis.call('ZREM', leases, id)
  is.waiting = is.waiting - cost
  return cost
end

local function give_up(id)
  if leave(id) or forget_sent(id) then
    is.version = is.version + 1
  end
end

local function learn(remaining, limit, reset_in, told)
  local window = longest
  for _, each in ipairs(windows) do
    if each.budget == limit then window = each; break end
  end
  local withheld = 0
  if limit then withheld = math.max(withheld, window.budget - limit) end
  if remaining then
    withheld = math.max(withheld, window.budget - remaining - window.used - is.sent)
    if remaining <= 0 and reset_in then withheld = ALWAYS end
  end
  local ends = withheld > 0 and told + (reset_in or window.per) or NEVER
  if math.max(ends, window.until_) > now and (withheld < window.withheld or ends < window.until_) then
    is.version = is.version + 1
  end
  window.withheld, window.until_ = withheld, ends
end

local function hold(seconds)
  is.held = math.max(is.held, now + seconds)
  is.drip = math.max(is.drip, is.held)
  is.calm = is.held + math.min(longest.per, CALM)
end

-- What this process has to tell.
local function keep_only(ids)
  for _, key in ipairs({ line, sent }) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      if string.sub(id, 1, #owner + 1) == owner .. ':' and not ids[id] then give_up(id) end
    end
  end
end

local function bring(cost, at)
  for _, window in ipairs(windows) do
    if comes_back and at + window.kept > now then window.brought = window.brought + cost end
  end
end

local reports = {
  finish = function()
    local id, since = next_argument(), next_number()
    local cost = forget_sent(id)
    if cost then answered[#answered + 1] = { now - since, cost } end
  end,
  spent = function()
    local cost, since = next_number(), next_number()
    answered[#answered + 1] = { now - since, cost }
    bring(cost, now - since)
  end,
  sent = function()
    local id, cost, since = next_argument(), next_number(), next_number()
    leave(id)
    if redis.call('ZADD', sent, now - since + due, id) == 1 then
      redis.call('HSET', costs, id, cost)
      is.sent = is.sent + cost
      bring(cost, now)
    end
  end,
  cancel = function() give_up(next_argument()) end,
  learn = function()
    log_answered()
    learn(next_number(), next_number(), next_number(), now - next_number())
  end,
  hold = function() hold(next_number()) end,
  only = function()
    local ids = {}
    for _ = 1, next_number() do ids[next_argument()] = true end
    keep_only(ids)
  end,
}
for _ = 1, next_number() do
  reports[next_argument()]()
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', sent, '-inf', now)) do
  local at = tonumber(redis.call('ZSCORE', sent, id))
  answered[#answered + 1] = { at, forget_sent(id) }
end
log_answered()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
  redis.call('ZREM', leases, id)
  give_up(id)
end

-- A server that is short of memory may have dropped a key: what is gone waits for nobody.
if redis.call('EXISTS', sent) == 0 then is.sent = 0 end
if redis.call('EXISTS', line) == 0 then is.waiting = 0 end

-- When has it room?
for _, window in ipairs(windows) do
  local words = {}
  local function withhold(units, ends)
    if units > 0 and now < ends then words[#words + 1] = { units, ends } end
  end
  withhold(window.withheld, window.until_)
  withhold(math.floor(withheld_share * window.budget / WHOLE), is.out_until)
  if is.returned < WHOLE - CRUMBS then
    -- Nobody knows what the others hold: those who are back have no more together than what they brought.
    withhold(window.budget - window.brought, is.lost_until)
  end
  table.sort(words, function(one, other) return one[2] < other[2] end)
  window.words = words
end

local function runs_out(window, mark)
  local ends, sums = window.ends, window.sums
  while (sums[#sums] or 0) < mark do
    local entries = redis.call('LRANGE', window.log, 2 * #ends, 2 * (#ends + CHUNK) - 1)
    if #entries == 0 then return now + window.kept end
    for entry = 1, #entries, 2 do
      sums[#sums + 1] = (sums[#sums] or 0) + tonumber(entries[entry + 1])
      ends[#ends + 1] = tonumber(entries[entry])
    end
  end
  local low, high = 1, #sums
  while low < high do
    local middle = math.floor((low + high) / 2)
    if sums[middle] < mark then low = middle + 1 else high = middle end
  end
  return ends[low]
end

local turn -- below: it asks for rooms, too

local function run_out(window, mark, ahead)
  if mark <= 0 then return now end
  if mark <= window.used then return runs_out(window, mark) end
  if mark <= window.used + is.sent then return now + window.kept end
  if mark <= window.used + is.sent + ahead then
    return turn(mark - window.used - is.sent) + window.kept
  end
  return ALWAYS
end

local function room_at(window, cost, ahead)
  local mark = window.used + is.sent + ahead + cost - window.budget
  local withheld = 0
  for _, word in ipairs(window.words) do withheld = withheld + word[1] end
  local at = run_out(window, mark + withheld, ahead)
  for _, word in ipairs(window.words) do
    if at <= word[2] then break end
    withheld = withheld - word[1]
    at = math.max(word[2], run_out(window, mark + withheld, ahead))
  end
  return at
end

local function earliest(cost, ahead)
  local at = math.max(now, is.held)
  for _, window in ipairs(windows) do
    at = math.max(at, room_at(window, cost, ahead))
  end
  if at < is.calm then
    at = math.max(at, math.min(is.drip + at_the_rate(ahead), is.calm))
  end
  return at
end

-- The turns of those who wait, laid out as far as somebody asks.
local turns, marks, waiting = {}, {}, nil

function turn(units)
  waiting = waiting or redis.call('ZRANGE', line, 0, -1)
  while (marks[#marks] or 0) < units do
    if not waiting[#marks + 1] then break end -- the server dropped what they cost
    local ahead, cost = marks[#marks] or 0, cost_of(waiting[#marks + 1])
    local at = earliest(cost, ahead)
    marks[#marks + 1] = ahead + cost
    turns[#turns + 1] = at
  end
  local low, high = 1, #marks
  while low < high do
    local middle = math.floor((low + high) / 2)
    if marks[middle] < units then low = middle + 1 else high = middle end
  end
  return math.max(now, turns[low] or now)
end

local function go(id, cost)
  redis.call('ZADD', sent, now + due, id)
  redis.call('HSET', costs, id, cost)
  is.sent = is.sent + cost
  if now < is.calm then
    is.drip = is.drip + at_the_rate(cost)
  end
end

local function queue(id, cost, place)
  redis.call('ZADD', line, place, id)
  redis.call('HSET', costs, id, cost)
  is.waiting = is.waiting + cost
end

local function next_place()
  is.place = math.max(is.place + 1, now)
  return is.place
end

local questions = {
  tell = function() return 'told', 0, 0 end,
  earliest = function() return 'wait', earliest(next_number(), is.waiting) - now, 0 end,
  reserve = function()
    local id, cost, before = next_argument(), next_number(), next_number()
    if redis.call('ZSCORE', sent, id) then return 'sent', 0, next_place() end -- it did not hear the answer
    leave(id)
    local wait = earliest(cost, is.waiting) - now
    if before and wait >= before then return 'deadline', wait, 0 end
    local place = next_place()
    if wait <= 1 then
      go(id, cost)
      return 'sent', 0, place
    end
    queue(id, cost, place)
    redis.call('ZADD', leases, now + wait + grace, id)
    return 'wait', wait, place
  end,
  confirm = function()
    local id, cost, place = next_argument(), next_number(), next_number()
    if redis.call('ZSCORE', sent, id) then return 'sent', 0, place end
    if not redis.call('ZSCORE', line, id) then
      -- Its lease ended, or this server did not know of it: it has its place again.
      place = place > 0 and place or next_place()
      is.place = math.max(is.place, place)
      queue(id, cost, place)
    end
    local ahead = 0
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', '(' .. string.format('%.0f', place))) do
      ahead = ahead + cost_of(other)
    end
    local wait = earliest(cost, ahead) - now
    if wait > 1 then
      redis.call('ZADD', leases, now + wait + grace, id)
      return 'wait', wait, place
    end
    leave(id)
    go(id, cost)
    return 'sent', 0, place
  end,
  hold = function()
    hold(next_number())
    local others = ALWAYS
    for _, window in ipairs(windows) do
      others = math.min(others, window.budget - window.used)
    end
    return 'told', 0, math.max(0, others - is.sent)
  end,
}
local word, wait, place = questions[next_argument()]()

-- What is known from now on.
local known = { 'epoch', epoch }
for _, name in ipairs(names) do
  known[#known + 1] = name
  known[#known + 1] = is[name]
end
for number, window in ipairs(windows) do
  for name, value in pairs({ used = window.used, merge_until = window.merge_until, last_end = window.last_end,
    last_cost = window.last_cost, withheld = window.withheld, brought = window.brought, ['until'] = window.until_ }) do
    known[#known + 1] = name .. number
    known[#known + 1] = value
  end
end
redis.call('HSET', state, unpack(known))
local keep = math.ceil((2 * (longest_kept + due + quiet) + LATELY) / 1000)
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, keep)
end
return { here, word, wait, place, is.version, share, epoch }
