-- The record's mechanics: loaded before each script. `enter` is the only writer of `state`.
-- All times are milliseconds of this server's clock, so no worker's clock decides anything.

-- Of the records these scripts understand; `wintergarden.jobs.records` says the same.
local SCHEMA = 2

local function key(...)
  return 'wintergarden:' .. table.concat({...}, ':')
end

-- Who queues a job sends its message at once; after this long without a start, the reaper does.
local SENT_WITHIN_MS = 5000
-- One step of priority outweighs any order of submission; a score's 53 bits hold both.
local PRIORITY_STEP = 1e10
-- Of the bodies of a job's events; beyond it the oldest go.
local MAX_EVENT_BYTES = 8 * 2 ^ 20

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether the record was written by newer scripts, whose rules these do not know.
local function is_newer(id)
  return tonumber(redis.call('HGET', key('job', id), 'schema_version') or 0) > SCHEMA
end

local function is_final(state)
  return state == 'SUCCEEDED' or state == 'FAILED' or state == 'CANCELLED'
end

-- What an attempt shows with each write: its fence, and a word of its own, since a server that
-- takes over from another may have forgotten a claim and give its fence to somebody else.
local function licence(id)
  local job = redis.call('HMGET', key('job', id), 'fence', 'token')
  return (job[1] or '') .. ':' .. (job[2] or '')
end

-- Whether an attempt no longer holds its job: a newer one was started, or the job has moved on.
local function is_stale(id, shown)
  return licence(id) ~= shown or redis.call('HGET', key('job', id), 'state') ~= 'RUNNING'
end

-- An attempt numbers its writes, so one repeated after a lost answer is recognised.
local function is_repeated(id, shown, write)
  return licence(id) == shown
    and tonumber(write) <= tonumber(redis.call('HGET', key('job', id), 'writes'))
end

local function append(id, kind, step, body)
  local job, events = key('job', id), key('events', id)
  local sequence = redis.call('HINCRBY', job, 'sequence', 1)
  redis.call('XADD', events, '*', 'fence', redis.call('HGET', job, 'fence'),
    'sequence', sequence, 'step', step, 'time', now_ms(), 'type', kind, 'body', body)
  local excess = redis.call('HINCRBY', job, 'event_bytes', #body) - MAX_EVENT_BYTES
  while excess > 0 and redis.call('XLEN', events) > 1 do
    local oldest = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
    local fields = oldest[2]
    local bytes = #fields[#fields] -- the body is written last
    redis.call('XDEL', events, oldest[1])
    redis.call('HINCRBY', job, 'event_bytes', -bytes)
    excess = excess - bytes
  end
end

local function log(id, text)
  append(id, 'log', 0, cjson.encode({level = 'info', text = text}))
end

local function enter(id, state, reason)
  local job, now = key('job', id), now_ms()
  local stored = redis.call('HMGET', job,
    'state', 'kind', 'route', 'submitted_at', 'order', 'priority', 'started_at')
  local was, route, submitted_at = stored[1], stored[3] or stored[2], stored[4]
  if was then redis.call('ZREM', key('state', was), id) end
  if was == 'RUNNING' then
    redis.call('HINCRBY', job, 'ran_ms', now - stored[7])
  end
  redis.call('ZADD', key('state', state), submitted_at, id)
  redis.call('HSET', job, 'state', state, 'reason', reason)
  if state == 'QUEUED' then
    redis.call('SADD', key('routes'), route)
    redis.call('ZADD', key('queue', route), stored[5] - (stored[6] or 0) * PRIORITY_STEP, id)
    redis.call('HSET', job, 'worker', '', 'progress', 0, 'phase', '',
      'send_at', now + SENT_WITHIN_MS, 'sends', 0)
  else
    redis.call('ZREM', key('queue', route), id)
  end
  if state ~= 'RUNNING' then redis.call('ZREM', key('leases'), id) end
  if state == 'PAUSED' then redis.call('HSET', job, 'requested', '') end
  if is_final(state) then
    redis.call('HSET', job, 'ended_at', now, 'requested', '')
    redis.call('ZADD', key('ended'), now, id)
    redis.call('ZADD', key('archive_due'), now, id)
  end
  append(id, 'state', 0, cjson.encode({state = state, reason = reason}))
end

-- An attempt has ended without a result: run the job again, unless it was cancelled or paused
-- or, where the attempt's failure counts, has failed too often without getting any further.
-- Answers the state entered.
local function try_again(id, reason, counts)
  local job = key('job', id)
  local stored = redis.call('HMGET', job, 'max_attempts', 'requested', 'checkpoint_step',
    'failed_at_step', 'fence', 'offered_fence')
  local step = tonumber(stored[3] or 0)
  if counts and step > tonumber(stored[4] or 0) then
    -- It got further than any attempt that failed before: a long job outlives many machines.
    redis.call('HSET', job, 'failures', 0, 'failed_at_step', step)
  end
  local failures = redis.call('HINCRBY', job, 'failures', counts and 1 or 0)
  local is_last = counts and failures >= tonumber(stored[1])
  if is_last and stored[5] == stored[6] and redis.call('HSETNX', job, 'spared', 1) == 1 then
    -- It was allowed to publish and may have: once, one more attempt is given to find that out.
    redis.call('HINCRBY', job, 'failures', -1)
    is_last = false
  end
  local state = 'QUEUED'
  if stored[2] == 'cancel' then
    state, reason = 'CANCELLED', 'cancelled while it ran'
  elseif is_last then
    state = 'FAILED'
  elseif stored[2] == 'pause' then
    state = 'PAUSED'
  end
  if counts and state ~= 'CANCELLED' then
    reason = 'attempt ' .. failures .. ' of ' .. stored[1] .. ': ' .. reason
  end
  enter(id, state, reason)
  return state
end
