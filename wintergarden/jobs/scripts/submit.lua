-- Creates a job once per request id.
-- ARGV: id, request id, kind, route, spec, attempts allowed, jobs allowed to wait, priority,
--   parent, memory needed (MiB)
-- Answers the job's id and whether it is 'created', 'known', 'different', or refused: 'full',
-- or 'orphan' where the parent is none or has ended.
local id, request_id, kind, route, spec, parent = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[9]
local request = key('request', request_id)

local known = redis.call('GET', request)
local stored = known and redis.call('HMGET', key('job', known), 'kind', 'spec')
if stored and stored[1] then
  local is_same = stored[1] == kind and stored[2] == spec
  return {known, is_same and 'known' or 'different'}
end
-- Those that are paused count too: they come back, and would be a way around the limit.
local waiting = redis.call('ZCARD', key('queue', route)) + redis.call('ZCARD', key('state', 'PAUSED'))
if waiting >= tonumber(ARGV[7]) then
  return {'', 'full'}
end
if parent ~= '' then
  local above = redis.call('HMGET', key('job', parent), 'state', 'requested')
  if not above[1] or is_final(above[1]) or above[2] == 'cancel' then return {'', 'orphan'} end
end

redis.call('SET', request, id)
local order = redis.call('INCR', key('orders'))
redis.call('HSET', key('job', id), 'schema_version', SCHEMA, 'kind', kind, 'route', route,
  'spec', spec, 'request_id', request_id, 'max_attempts', ARGV[6], 'submitted_at', now_ms(),
  'order', order, 'priority', ARGV[8], 'parent', parent, 'memory_mb', ARGV[10],
  'fence', 0, 'failures', 0, 'writes', 0)
if parent ~= '' then redis.call('ZADD', key('children', parent), order, id) end
enter(id, 'QUEUED', '')
return {id, 'created'}
