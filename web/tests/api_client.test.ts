import { afterEach, describe, expect, it, vi } from 'vitest'

import { acknowledgeAlarm, fetchMe, liveAddress, logOut, RefusedError } from '@/shared/api_client'

/** A fake of the browser's fetch: answers of a proxy or of a dying server cannot be ordered from a real gateway. */
function answerWith(status: number, body: string): ReturnType<typeof vi.fn> {
  const fake = vi.fn(() => Promise.resolve(new Response(status === 204 ? null : body, { status })))
  vi.stubGlobal('fetch', fake)
  return fake
}

async function refusalOf(asking: Promise<unknown>): Promise<RefusedError> {
  const error: unknown = await asking.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (!(error instanceof RefusedError)) throw new Error('it was not refused')
  return error
}

afterEach(() => {
  vi.unstubAllGlobals()
})

describe('questions', () => {
  it('send the version on the screen', async () => {
    const fake = answerWith(200, '{"id":"a 1"}')
    await acknowledgeAlarm('a 1', { version: 4, note: '' })
    const [path, init] = fake.mock.calls[0] as unknown as [string, RequestInit]
    expect(path).toBe('/api/v1/alarms/a%201/acknowledge')
    expect([init.method, init.body]).toEqual(['POST', '{"version":4,"note":""}'])
  })

  it('need no body in the answer to logging out', async () => {
    answerWith(204, '')
    await expect(logOut()).resolves.toBeUndefined()
  })
})

describe('refusals', () => {
  it('say when to try again, where the gateway says so', async () => {
    const body = '{"title":"Too many attempts","status":429,"code":"too_many_attempts"}'
    vi.stubGlobal('fetch', () => Promise.resolve(new Response(body, { status: 429, headers: { 'Retry-After': '16' } })))
    expect((await refusalOf(fetchMe())).retryAfter).toBe(16)
    answerWith(401, '{"title":"Log in first","status":401,"code":"not_signed_in"}')
    expect((await refusalOf(fetchMe())).retryAfter).toBeNull()
  })

  it('carry the code of the gateway', async () => {
    answerWith(409, '{"title":"Changed","status":409,"code":"stale_version","detail":"Read it again."}')
    expect(await refusalOf(fetchMe())).toMatchObject({ code: 'stale_version', status: 409, detail: 'Read it again.' })
  })

  it('of something before the gateway are no answer of the gateway', async () => {
    answerWith(502, '<html>Bad gateway</html>')
    expect(await refusalOf(fetchMe())).toMatchObject({ code: 'no_answer', status: 502 })
  })

  it('come too when nobody answers', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('Failed to fetch')))
    expect((await refusalOf(fetchMe())).code).toBe('no_answer')
  })

  it('come too when the answer is no JSON', async () => {
    answerWith(200, 'hello')
    expect((await refusalOf(fetchMe())).code).toBe('unreadable_answer')
  })
})

describe('the address of the live feed', () => {
  it('is as safe as the page', () => {
    expect(liveAddress({ protocol: 'https:', host: 'gengfu.example' })).toBe('wss://gengfu.example/api/v1/live')
    expect(liveAddress({ protocol: 'http:', host: '127.0.0.1:8080' })).toBe('ws://127.0.0.1:8080/api/v1/live')
  })
})
