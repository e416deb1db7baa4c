-- Extends an attempt's lease. ARGV: id, fence, lease (ms)
-- Answers 'stale', 'cancel' when someone asked for that, or 'renewed'.
local id = ARGV[1]
if is_stale(id, ARGV[2]) then return 'stale' end
redis.call('ZADD', key('leases'), now_ms() + ARGV[3], id)
return redis.call('HGET', key('job', id), 'cancel_requested') == '1' and 'cancel' or 'renewed'
