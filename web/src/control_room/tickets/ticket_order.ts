/** Emergencies before repairs, and what has waited longest first. Pure. */

import type { TicketBody } from '@/shared/contract/contract'

export function inTicketOrder(tickets: Iterable<TicketBody>): TicketBody[] {
  return [...tickets].sort(
    (a, b) =>
      Number(b.type === 'emergency') - Number(a.type === 'emergency') ||
      Date.parse(a.opened_at) - Date.parse(b.opened_at) ||
      (a.number < b.number ? -1 : 1),
  )
}
