-- A worker says that it is there. ARGV: name, what it is (JSON), after which silence it is not (ms)
local now = now_ms()
redis.call('ZADD', key('workers'), now, ARGV[1])
redis.call('HSET', key('worker'), ARGV[1], ARGV[2])
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', now - ARGV[3])) do
  redis.call('ZREM', key('workers'), silent)
  redis.call('HDEL', key('worker'), silent)
end
return 1
