-- Notes where an ended job's events are kept for good. ARGV: id, the last event's cursor, where,
-- for how long the stream stays whole all the same (ms)
-- Answers 'archived', or why not: 'gone', 'newer', or 'stale' where the job has gone on since.
local id = ARGV[1]
local job, due = key('job', id), key('archive_due')
local state = redis.call('HGET', job, 'state')
if not state then
  redis.call('ZREM', due, id)
  return 'gone'
end
if is_newer(id) then
  redis.call('ZADD', due, now_ms() + ARGV[4], id)
  return 'newer'
end
local last = redis.call('XREVRANGE', key('events', id), '+', '-', 'COUNT', 1)[1]
if not is_final(state) then
  redis.call('ZREM', due, id) -- a server that took over knows of no end yet; its end will tell
  return 'stale'
end
if not last or last[1] ~= ARGV[2] then return 'stale' end
-- The first one stays: another may have been read from what was dropped by then.
if redis.call('HEXISTS', job, 'archive') == 1 then return 'stale' end
redis.call('HSET', job, 'archive', ARGV[3])
redis.call('ZADD', due, now_ms() + ARGV[4], id)
return 'archived'
