"""The ground floor: shapes, errors, plugin kinds, clocks, ids and the SDK's encoding; light to import."""
