-- Deletes a job that has ended, and all that is known of it. ARGV: id
-- Answers 1, or 0 where it is not there, has not ended, is newer or has children that have not.
local id = ARGV[1]
local job = key('job', id)
local stored = redis.call('HMGET', job, 'state', 'request_id', 'parent')
if not stored[1] or not is_final(stored[1]) or is_newer(id) then return 0 end
for _, child in ipairs(redis.call('ZRANGE', key('children', id), 0, -1)) do
  local state = redis.call('HGET', key('job', child), 'state')
  if state and not is_final(state) then return 0 end
end
if stored[3] and stored[3] ~= '' then redis.call('ZREM', key('children', stored[3]), id) end
redis.call('ZREM', key('state', stored[1]), id)
redis.call('ZREM', key('ended'), id)
redis.call('ZREM', key('archive_due'), id)
redis.call('DEL', job, key('events', id), key('request', stored[2]), key('children', id))
return 1
