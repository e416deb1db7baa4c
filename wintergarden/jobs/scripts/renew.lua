-- Extends an attempt's lease. ARGV: id, licence, lease (ms)
-- Answers 'stale', or what somebody asked for: 'cancel', 'pause' or 'renewed' for nothing.
local id = ARGV[1]
if is_stale(id, ARGV[2]) then return 'stale' end
redis.call('ZADD', key('leases'), now_ms() + ARGV[3], id)
local requested = redis.call('HGET', key('job', id), 'requested')
return requested and requested ~= '' and requested or 'renewed'
