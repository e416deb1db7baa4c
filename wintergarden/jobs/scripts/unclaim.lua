-- Gives back what a claim got whose answer nobody could rely on; it does not count. ARGV: token, reason
-- Answers the state entered, or '' where the claim got nothing or no longer holds.
local mine = redis.call('HMGET', key('claim', ARGV[1]), 'id', 'fence')
if not mine[1] or is_stale(mine[1], mine[2] .. ':' .. ARGV[1]) then return '' end
return try_again(mine[1], ARGV[2], false)
