import { describe, expect, it } from 'vitest'

import { watching } from '@/control_room/watching'

describe('the watch', () => {
  it.each([
    ['everything works', 'live', {}, 'fully'],
    ['only the history waits', 'live', { history: 'x' }, 'partly'],
    ['the broker is away', 'live', { history: 'x', broker: 'x' }, 'blind'],
    ['a part has trouble that this page does not know', 'live', { new_part: 'x' }, 'blind'],
    ['the page itself is cut off', 'reconnecting', {}, 'blind'],
  ] as const)('when %s', (_case, connection, notReady, expected) => {
    expect(watching(connection, new Map(Object.entries(notReady)))).toBe(expected)
  })
})
