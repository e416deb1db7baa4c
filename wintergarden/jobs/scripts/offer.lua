-- Lets an attempt publish, and remembers which version. ARGV: id, licence, write, version, lease (ms)
-- A pause asked for so late comes too late: the job is about to end by itself.
local id = ARGV[1]
if is_repeated(id, ARGV[2], ARGV[3]) then return 'repeated' end
if is_stale(id, ARGV[2]) then return 'stale' end
local job = key('job', id)
if redis.call('HGET', job, 'requested') == 'cancel' then return 'cancel' end
redis.call('HSET', job, 'writes', ARGV[3], 'offered_version', ARGV[4],
  'offered_fence', redis.call('HGET', job, 'fence'))
redis.call('ZADD', key('leases'), now_ms() + ARGV[5], id)
return 'written'
