-- Queued jobs whose message should be sent again, in the order they run, each with doubled patience.
-- ARGV: route, how many at most, first and longest patience (ms)
local now, due = now_ms(), {}
-- A lost message further back has time: whichever comes is an occasion to look at the whole queue.
for _, id in ipairs(redis.call('ZRANGE', key('queue', ARGV[1]), 0, 999)) do
  if #due >= tonumber(ARGV[2]) then break end
  local send_at = tonumber(redis.call('HGET', key('job', id), 'send_at'))
  if send_at <= now and not is_newer(id) then
    local sends = redis.call('HINCRBY', key('job', id), 'sends', 1)
    local patience = math.min(ARGV[3] * 2 ^ (sends - 1), ARGV[4])
    redis.call('HSET', key('job', id), 'send_at', now + patience)
    due[#due + 1] = id
  end
end
return due
