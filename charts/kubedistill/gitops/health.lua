-- Argo CD's view of a DistillationJob: goes into argocd-cm as
-- resource.customizations.health.kubedistill.io_DistillationJob.
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
if holds("Stalled") then
  health.status = "Degraded"
  health.message = by_type.Stalled.message
elseif holds("Succeeded") then
  health.status = "Healthy"
  health.message = by_type.Succeeded.message
elseif holds("Suspended") then
  health.status = "Suspended"
  health.message = by_type.Suspended.message
elseif status.progress ~= nil then
  health.message = status.progress
elseif by_type.Succeeded ~= nil then
  health.message = by_type.Succeeded.message
end
return health
