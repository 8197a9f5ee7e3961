-- What ingress-nginx uses of resty.roundrobin: all nodes have the same weight.
local _M = {}
_M.__index = _M

function _M.new(self, nodes)
  local balancer = setmetatable({ last = 0 }, self)
  balancer:reinit(nodes)
  return balancer
end

function _M.reinit(self, nodes)
  self.nodes = nodes
  self.names = {}
  for name in pairs(nodes) do
    table.insert(self.names, name)
  end
  table.sort(self.names)
end

function _M.find(self)
  self.last = self.last % #self.names + 1
  return self.names[self.last]
end

return _M
