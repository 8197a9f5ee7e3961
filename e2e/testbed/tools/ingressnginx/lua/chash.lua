-- What ingress-nginx uses of resty.chash. A change of the nodes moves more keys than there.
local round_robin = require("resty.roundrobin")

local _M = setmetatable({}, { __index = round_robin })
_M.__index = _M

function _M.find(self, key)
  return self.names[ngx.crc32_short(key) % #self.names + 1]
end

return _M
