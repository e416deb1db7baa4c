-- The record's mechanics: loaded before each script. `enter` is the only writer of `state`.
-- All times are milliseconds of this server's clock, so no worker's clock decides anything.

local function key(...)
  return 'wintergarden:' .. table.concat({...}, ':')
end

-- Who queues a job sends its message at once; after this long without a start, the reaper does.
local SENT_WITHIN_MS = 5000

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether an attempt no longer holds its job: a newer one was started, or the job has moved on.
local function is_stale(id, fence)
  local job = redis.call('HMGET', key('job', id), 'fence', 'state')
  return job[1] ~= fence or job[2] ~= 'RUNNING'
end

-- An attempt numbers its writes, so one repeated after a lost answer is recognised.
local function is_repeated(id, fence, write)
  local job = redis.call('HMGET', key('job', id), 'fence', 'writes')
  return job[1] == fence and tonumber(write) <= tonumber(job[2])
end

local function append(id, kind, step, body)
  local job = key('job', id)
  local sequence = redis.call('HINCRBY', job, 'sequence', 1)
  redis.call('HINCRBY', job, 'event_bytes', #body)
  redis.call('XADD', key('events', id), '*', 'fence', redis.call('HGET', job, 'fence'),
    'sequence', sequence, 'step', step, 'time', now_ms(), 'type', kind, 'body', body)
end

local function enter(id, state, reason)
  local job, now = key('job', id), now_ms()
  local was = redis.call('HMGET', job, 'state', 'kind', 'submitted_at', 'order')
  local kind, submitted_at, order = was[2], was[3], was[4]
  if was[1] then redis.call('ZREM', key('state', was[1]), id) end
  redis.call('ZADD', key('state', state), submitted_at, id)
  redis.call('HSET', job, 'state', state, 'reason', reason)
  if state == 'QUEUED' then
    redis.call('ZADD', key('queue', kind), order, id)
    redis.call('HSET', job, 'worker', '', 'progress', 0, 'phase', '',
      'send_at', now + SENT_WITHIN_MS, 'sends', 0)
  else
    redis.call('ZREM', key('queue', kind), id)
  end
  if state ~= 'RUNNING' then redis.call('ZREM', key('leases'), id) end
  if state == 'SUCCEEDED' or state == 'FAILED' or state == 'CANCELLED' then
    redis.call('HSET', job, 'ended_at', now)
  end
  append(id, 'state', 0, cjson.encode({state = state, reason = reason}))
end

-- An attempt has ended without a result: run the job again, unless it was cancelled or, where
-- the attempt's failure counts, has failed too often. Answers the state entered.
local function try_again(id, reason, counts)
  local job = key('job', id)
  local failures = redis.call('HINCRBY', job, 'failures', counts and 1 or 0)
  local rest = redis.call('HMGET', job, 'max_attempts', 'cancel_requested')
  local state = 'QUEUED'
  if rest[2] == '1' then
    state, reason = 'CANCELLED', 'cancelled while it ran'
  elseif counts then
    reason = 'attempt ' .. failures .. ' of ' .. rest[1] .. ': ' .. reason
    if failures >= tonumber(rest[1]) then state = 'FAILED' end
  end
  enter(id, state, reason)
  return state
end
