/** Acknowledging (接警): one request, its waiting, and its result in words. Nothing is shown as done before it is. */

import { ElNotification } from 'element-plus'
import { shallowReactive } from 'vue'

import { acknowledgeAlarm, fetchAlarm, RefusedError } from '@/shared/api_client'
import type { AlarmBody } from '@/shared/contract'
import { useLive } from '@/shared/live_store'
import { useSession } from '@/shared/session_store'
import { useWording } from '@/shared/wording'

const CONFLICT = 409
const SHORT_MS = 3_000
const LONG_MS = 12_000
/** Below, out of the way of the header and its banners, and above the section buttons of a phone. */
const PLACE = { position: 'bottom-right', offset: 70 } as const

export function useAcknowledging() {
  const live = useLive()
  const session = useSession()
  const { say, text, refusal } = useWording()
  const pending = shallowReactive(new Set<string>())

  async function acknowledge(alarm: AlarmBody): Promise<void> {
    if (pending.has(alarm.id)) return
    pending.add(alarm.id)
    const title = text(alarm.title)
    try {
      live.takeAlarm(await acknowledgeAlarm(alarm.id, { version: alarm.version, note: '' }))
      ElNotification({ ...PLACE, type: 'success', message: say('acknowledged.done', { title }), duration: SHORT_MS })
    } catch (error) {
      await explain(error, alarm.id, title)
    } finally {
      pending.delete(alarm.id)
    }
  }

  async function explain(error: unknown, id: string, title: string): Promise<void> {
    session.noteRefusal(error)
    if (error instanceof RefusedError && error.status === CONFLICT) await refresh(id)
    const changed = error instanceof RefusedError && error.code === 'stale_version'
    ElNotification({
      ...PLACE,
      type: changed ? 'warning' : 'error',
      title: changed ? say('acknowledged.changedTitle') : say('acknowledged.refusedTitle', { title }),
      message: changed ? say('acknowledged.changed', { title }) : refusal(error),
      duration: LONG_MS,
    })
  }

  /** The feed tells of the change as well, but the words "the list is up to date" must be true when they appear. */
  async function refresh(id: string): Promise<void> {
    try {
      live.takeAlarm((await fetchAlarm(id)).alarm)
    } catch {
      // The feed stays the way by which the change arrives.
    }
  }

  return { pending, acknowledge }
}
