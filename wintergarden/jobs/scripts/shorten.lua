-- Drops an archived job's events but the last. ARGV: id
-- A watcher sees `shortened` with the same look that could miss an event. Answers whether it did.
local id = ARGV[1]
local job, due = key('job', id), key('archive_due')
local stored = redis.call('HMGET', job, 'state', 'archive')
if is_newer(id) then return 0 end
redis.call('ZREM', due, id)
if not stored[1] or not is_final(stored[1]) or not stored[2] then return 0 end
redis.call('XTRIM', key('events', id), 'MAXLEN', 1)
redis.call('HSET', job, 'shortened', stored[2], 'event_bytes', 0)
return 1
