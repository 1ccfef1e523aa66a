-- Sends the requests of a file in rotation and reports in JSON. The file: for each, its length on a line, then it.
local requests, at = {}, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local line = file:read("*l")
  while line do
    requests[#requests + 1] = file:read(tonumber(line))
    file:read(1)  -- the newline after it
    line = file:read("*l")
  end
  file:close()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, each)
  local e = summary.errors
  io.write(string.format(
    '{"duration_us":%d,"requests":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.duration, summary.requests, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency.max, e.connect, e.read, e.write, e.status, e.timeout))
end
