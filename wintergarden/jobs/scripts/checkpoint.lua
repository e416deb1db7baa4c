-- Makes a checkpoint the one from which a later attempt goes on. ARGV: id, licence, write, name, step
local id = ARGV[1]
if is_repeated(id, ARGV[2], ARGV[3]) then return 'repeated' end
if is_stale(id, ARGV[2]) then return 'stale' end
local is_new = redis.call('HGET', key('job', id), 'checkpoint') ~= ARGV[4]
redis.call('HSET', key('job', id), 'writes', ARGV[3], 'checkpoint', ARGV[4],
  'checkpoint_step', ARGV[5])
if is_new then append(id, 'checkpoint', ARGV[5], cjson.encode({name = ARGV[4]})) end
return 'written'
