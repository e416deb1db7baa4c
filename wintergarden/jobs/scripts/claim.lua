-- Starts an attempt on a QUEUED job. ARGV: id, worker, token, lease (ms), schema understood
-- Answers the attempt's fence, or 0 where there is nothing to do. The token makes a claim
-- repeated after a lost answer find its own attempt.
local id, worker, token = ARGV[1], ARGV[2], ARGV[3]
local job, now = key('job', id), now_ms()
local stored = redis.call('HMGET', job, 'state', 'schema_version', 'claim', 'fence')

if stored[1] == 'RUNNING' and stored[3] == token then return tonumber(stored[4]) end
if stored[1] ~= 'QUEUED' or tonumber(stored[2]) > tonumber(ARGV[5]) then return 0 end

local fence = redis.call('HINCRBY', job, 'fence', 1)
redis.call('HSET', job, 'worker', worker, 'claim', token, 'writes', 0, 'started_at', now)
enter(id, 'RUNNING', '')
redis.call('ZADD', key('leases'), now + ARGV[4], id)
return fence
