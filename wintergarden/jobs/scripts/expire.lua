-- Takes a job from an attempt whose lease has run out. ARGV: id, licence, reason
-- Answers the state entered, or '' where another reaper was faster or the lease was renewed.
local id = ARGV[1]
local expires_at = redis.call('ZSCORE', key('leases'), id)
if not expires_at or tonumber(expires_at) > now_ms() or is_newer(id) then return '' end
if is_stale(id, ARGV[2]) then return '' end
return try_again(id, ARGV[3], true)
