/** The roles, in the order in which one is chosen. */
export const ROLES = [
  'operator',
  'shift_leader',
  'guard',
  'engineer',
  'customer_service',
  'contractor',
  'manager',
  'admin',
  'viewer',
] as const
