-- Creates a job once per request id.
-- ARGV: id, request id, kind, spec, attempts allowed, jobs allowed to wait, schema
-- Answers the job's id and whether it is 'created', 'known', 'different' or refused as 'full'.
local id, request_id, kind, spec = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local request = key('request', request_id)

local known = redis.call('GET', request)
local stored = known and redis.call('HMGET', key('job', known), 'kind', 'spec')
if stored and stored[1] then
  local is_same = stored[1] == kind and stored[2] == spec
  return {known, is_same and 'known' or 'different'}
end
if redis.call('ZCARD', key('queue', kind)) >= tonumber(ARGV[6]) then
  return {'', 'full'}
end

redis.call('SET', request, id)
redis.call('HSET', key('job', id), 'schema_version', ARGV[7], 'kind', kind, 'spec', spec,
  'request_id', request_id, 'max_attempts', ARGV[5], 'submitted_at', now_ms(),
  'order', redis.call('INCR', key('orders')), 'fence', 0, 'failures', 0, 'writes', 0)
enter(id, 'QUEUED', '')
return {id, 'created'}
