-- The circuit breaker that processes share. Times are whole microseconds. The rules are those of breaker.py beside this
-- folder, and their names are the same. Besides: who is parked and does not look any more is forgotten.
--
-- KEYS  1 state  2 waiting (by place)  3 looks (when each is forgotten)  4 dues (of those who wait)  5 probes (leases)
-- ARGV  as `next_argument` takes them below.
-- Gives the server's time, a word, microseconds to wait, the epoch, microseconds until the open time ends (-1: closed), failures in a row,
-- whether the parked should look now, and whether it is closed with nobody waiting.

local state, waiting, looks, dues, probes = unpack(KEYS)
local NEVER = -2 ^ 52
local GRACE = 30000000 -- after the time at which one who is parked should have looked

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
if here > (next_number() or here) then return { here } end -- whoever asked has given up
local now = next_number() or here
local window, buckets, min_calls, failure_rate, in_a_row = next_number(), next_number(), next_number(), next_number(),
  next_number() or math.huge
local slow_rate, open_for, growth, max_open_for, max_retry_after = next_number(), next_number(), next_number(),
  next_number(), next_number()
local max_probes, lease, successes, max_parked, ramp = next_number(), next_number(), next_number(), next_number(),
  next_number()
local stretch, keep = next_number(), next_number()

local names = { 'now', 'epoch', 'until', 'run', 'asked_until', 'closed_at', 'open_for', 'worked', 'ramping', 'tick', 'place' }
local values = redis.call('HMGET', state, 'window', unpack(names))
local is = {}
for number, name in ipairs(names) do
  is[name] = tonumber(values[number + 1])
end
now = math.max(now, is.now or NEVER) -- a server's clock may be set back
is.now = now
is.epoch = is.epoch or now -- which no other breaker of this name had
for _, name in ipairs({ 'until', 'asked_until', 'closed_at', 'tick' }) do is[name] = is[name] or NEVER end
for _, name in ipairs({ 'run', 'open_for', 'worked', 'ramping', 'place' }) do is[name] = is[name] or 0 end

local counts = {} -- worked, of them slow, failed; by bucket, the newest first
for count in string.gmatch(values[1] or '', '%d+') do counts[#counts + 1] = tonumber(count) end
for _ = #counts + 1, 3 * buckets do counts[#counts + 1] = 0 end

local width = window / buckets
local function bucket(at)
  local tick = math.floor(now / width)
  for _ = 1, math.min(tick - is.tick, buckets) do
    for _ = 1, 3 do
      table.insert(counts, 1, 0)
      table.remove(counts)
    end
  end
  is.tick = tick
  local ago = tick - math.floor(at / width)
  return ago < buckets and 3 * ago or nil
end

local function totals()
  local worked, slow, failed = 0, 0, 0
  for first = 1, 3 * buckets, 3 do
    worked, slow, failed = worked + counts[first], slow + counts[first + 1], failed + counts[first + 2]
  end
  return worked + failed, failed, slow
end

local function is_closed() return is['until'] == NEVER end
local function somebody_waits() return redis.call('ZCARD', waiting) > 0 end

local function forget(ticket)
  redis.call('ZREM', waiting, ticket)
  redis.call('ZREM', looks, ticket)
  redis.call('HDEL', dues, ticket)
end
for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', looks, '-inf', now)) do forget(ticket) end
redis.call('ZREMRANGEBYSCORE', probes, '-inf', now)

local function open()
  local again = not is_closed() or now - is.closed_at < window
  is.open_for = again and math.min(is.open_for * growth, max_open_for) or open_for
  local asked_until = is_closed() and is.asked_until or is['until']
  is['until'] = math.max(now + math.floor(is.open_for * stretch + 0.5), asked_until)
  is.epoch = is.epoch + 1
  is.worked, is.ramping = 0, 0
  redis.call('DEL', probes)
  return somebody_waits()
end

local function close()
  is['until'] = NEVER
  is.closed_at = now
  is.run = 0
  for number = 1, #counts do counts[number] = 0 end
  is.epoch = is.epoch + 1
  local line = redis.call('ZRANGE', waiting, 0, -1)
  is.ramping = #line > 0 and 1 or 0
  for place, ticket in ipairs(line) do
    local at = now + math.floor(ramp * math.sqrt((place - 1) / #line) + 0.5)
    redis.call('HSET', dues, ticket, at)
    redis.call('ZADD', looks, at + GRACE, ticket)
  end
end

local function ramping()
  if is.ramping == 1 and now >= is.closed_at + ramp then
    redis.call('DEL', waiting, looks, dues)
    is.ramping = 0
  end
  return is.ramping == 1
end

local function permit(id)
  if is_closed() then return 'closed' end
  if now < is['until'] or redis.call('ZCARD', probes) >= max_probes then return nil end
  redis.call('ZADD', probes, now + lease, id)
  return 'probe'
end

local function look_at()
  if now < is['until'] then return is['until'] end
  return tonumber(redis.call('ZRANGE', probes, 0, 0, 'WITHSCORES')[2])
end

local function newcomers_turn()
  if not is_closed() or not ramping() then return now end
  return is.closed_at + math.floor(math.sqrt((now - is.closed_at) * ramp) + 0.5)
end

local function wait_for(ticket, at)
  if not redis.call('ZSCORE', waiting, ticket) then
    is.place = is.place + 1
    redis.call('ZADD', waiting, is.place, ticket)
  end
  redis.call('ZADD', looks, at + GRACE, ticket)
  return 'parked', at - now
end

local function probed(id, well)
  if not well then return open() end
  redis.call('ZREM', probes, id)
  is.worked = is.worked + 1
  if is.worked >= successes then close() end
  return somebody_waits()
end

local function judge(too_many)
  return too_many and open()
end

local woken = false
local questions = {
  tell = function() return 'told', 0 end,
  admit = function()
    local id, park = next_argument(), next_argument() == '1'
    local leave = permit(id)
    local at
    if leave then
      at = newcomers_turn()
      if at <= now then return leave, 0 end
      if not park or redis.call('ZCARD', waiting) >= max_parked then return leave, 0 end
      redis.call('HSET', dues, id, at)
    else
      at = look_at()
      if not park or redis.call('ZCARD', waiting) >= max_parked then return 'open', at - now end
    end
    return wait_for(id, at)
  end,
  ready = function()
    local ticket, id = next_argument(), next_argument()
    local at = tonumber(redis.call('HGET', dues, ticket) or nil)
    if is_closed() and at and now < at and ramping() then return wait_for(ticket, at) end
    local leave = permit(id)
    if leave then
      forget(ticket)
      return leave, 0
    end
    return wait_for(ticket, look_at())
  end,
  leave = function()
    forget(next_argument())
    return 'told', 0
  end,
  succeeded = function()
    local id, epoch, slow = next_argument(), next_number(), next_argument() == '1'
    if epoch ~= is.epoch then return 'told', 0 end
    if not is_closed() then
      woken = probed(id, not slow)
    else
      local at = bucket(now)
      counts[at + 1] = counts[at + 1] + 1
      if is.run > 0 then is.run, is.asked_until = 0, NEVER end
      if slow then
        counts[at + 2] = counts[at + 2] + 1
        local calls, _, slow_ones = totals()
        woken = judge(calls >= min_calls and slow_ones >= slow_rate * calls)
      end
    end
    return 'told', 0
  end,
  failed = function()
    local id, epoch, retry_after = next_argument(), next_number(), next_number()
    if retry_after then
      local asked_until = now + math.floor(math.min(retry_after, max_retry_after) * stretch + 0.5)
      if not is_closed() then
        is['until'] = math.max(is['until'], asked_until)
      elseif epoch == is.epoch then
        is.asked_until = math.max(is.asked_until, asked_until)
      end
    end
    if epoch ~= is.epoch then return 'told', 0 end
    if not is_closed() then
      woken = probed(id, false)
    else
      local at = bucket(now)
      counts[at + 3] = counts[at + 3] + 1
      is.run = is.run + 1
      local calls, failures = totals()
      woken = judge(is.run >= in_a_row or (calls >= min_calls and failures >= failure_rate * calls))
    end
    return 'told', 0
  end,
  cancelled = function()
    local id, epoch = next_argument(), next_number()
    if epoch == is.epoch and not is_closed() then
      redis.call('ZREM', probes, id)
      woken = somebody_waits() and now >= is['until']
    end
    return 'told', 0
  end,
}

-- Calls of this process that worked, and were not worth telling at once.
local worked, epoch, since = next_number(), next_number(), next_number()
if worked > 0 and epoch == is.epoch and is_closed() then
  local at = bucket(now - since)
  if at then counts[at + 1] = counts[at + 1] + worked end
  if is.run > 0 then is.run, is.asked_until = 0, NEVER end
end
local word, wait = questions[next_argument()]()

local known = { 'window', table.concat(counts, ' ') }
for _, name in ipairs(names) do
  known[#known + 1] = name
  known[#known + 1] = is[name]
end
redis.call('HSET', state, unpack(known))
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, keep) end
local left = is_closed() and -1 or math.max(0, is['until'] - now)
return { here, word, wait, is.epoch, left, is.run, woken and 1 or 0, is_closed() and is.ramping == 0 and 1 or 0 }
