-- Argo CD's view of a DistilledModelRollout: goes into argocd-cm as
-- resource.customizations.health.kubedistill.io_DistilledModelRollout.
local health = { status = "Progressing", message = "Waiting for the operator" }
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
-- Conditions about an older spec say nothing about this one.
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator to see the change"
  return health
end
local by_type = {}
for _, condition in ipairs(status.conditions) do
  by_type[condition.type] = condition
end
local function holds(kind)
  return by_type[kind] ~= nil and by_type[kind].status == "True"
end
-- The worst comes first: a rollback that does not come about needs a person at once.
if holds("RollbackFailed") then
  health.status = "Degraded"
  health.message = by_type.RollbackFailed.message
elseif holds("Stalled") then
  health.status = "Degraded"
  health.message = by_type.Stalled.message
elseif holds("Promoted") then
  health.status = "Healthy"
  health.message = by_type.Promoted.message
elseif holds("Paused") then
  health.status = "Suspended"
  health.message = by_type.Paused.message
elseif status.message ~= nil then
  health.message = status.message
end
return health
