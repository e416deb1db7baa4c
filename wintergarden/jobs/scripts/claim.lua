-- Starts an attempt on the first job of a queue that the worker can run: a message is an occasion
-- to look, so priorities hold although messages are taken in the order they were sent.
-- ARGV: the job the message names, worker, token, lease (ms), memory the worker has (MiB; 0: any)
-- Answers the job's id and the attempt's fence, or '' and 0 where there is nothing to do. The
-- token makes a claim repeated after a lost answer find its own attempt.
local PAGE = 100
local worker, token = ARGV[2], ARGV[3]
local claims = key('claim', token)
local now = now_ms()

local mine = redis.call('HMGET', claims, 'id', 'fence')
if mine[1] and not is_stale(mine[1], mine[2] .. ':' .. token) then
  return {mine[1], tonumber(mine[2])}
end

local named = redis.call('HMGET', key('job', ARGV[1]), 'route', 'kind')
local route = named[1] or named[2]
if not route then return {'', 0} end

local function can_run(id)
  local needed = tonumber(redis.call('HGET', key('job', id), 'memory_mb') or 0)
  local fits = tonumber(ARGV[5]) == 0 or needed <= tonumber(ARGV[5])
  return fits and not is_newer(id)
end

local function first()
  local start = 0
  repeat -- by pages, since mostly the very first one will do
    local page = redis.call('ZRANGE', key('queue', route), start, start + PAGE - 1)
    for _, id in ipairs(page) do
      if can_run(id) then return id end
    end
    start = start + PAGE
  until #page < PAGE
end

local id = first()
if not id then return {'', 0} end
local job = key('job', id)
local fence = redis.call('HINCRBY', job, 'fence', 1)
redis.call('HSET', job, 'worker', worker, 'token', token, 'writes', 0, 'started_at', now)
enter(id, 'RUNNING', '')
redis.call('ZADD', key('leases'), now + ARGV[4], id)
redis.call('HSET', claims, 'id', id, 'fence', fence)
redis.call('EXPIRE', claims, 120)
return {id, fence}
