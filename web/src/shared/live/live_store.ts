/** The live state for the whole page: the feed's data, their age, and the server's clock. */

import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'

import type { ApprovalBody } from '@/shared/contract/approvals'
import { browserWorld } from './browser_world'
import { connectionState } from './connection_state'
import type { AlarmBody } from '@/shared/contract/contract'
import { applyAlarm, applyApproval, applyMessages, EMPTY_FEED, forgetOldClosed } from './feed_state'
import { LiveClient } from './live_client'
import { useSession } from '@/shared/session_store'

const TICK_MS = 1_000

export const useLive = defineStore('live', () => {
  const session = useSession()
  const feed = shallowRef(EMPTY_FEED)
  const following = ref(false)
  const lastMessageAt = ref<number | null>(null)
  const machineNow = ref(Date.now())
  let ticker: number | null = null

  const client = new LiveClient(browserWorld(), {
    take: (messages) => {
      const { state, outcome } = applyMessages(feed.value, messages, Date.now())
      feed.value = state
      return outcome
    },
    changed: (nowFollowing) => {
      following.value = nowFollowing
      tick()
    },
    dropped: (reason, neverFollowed) => {
      // Browsers do not report why a socket was refused; querying the session shows whether the login has ended, or
      // its roles have changed.
      if (neverFollowed || reason === 'closed') void session.verify()
    },
  })

  const connection = computed(() => connectionState(following.value, lastMessageAt.value, machineNow.value))
  const dataAge = computed(() =>
    lastMessageAt.value === null ? null : Math.max(0, machineNow.value - lastMessageAt.value),
  )
  /** The server's clock, to the second: what ages are counted against. */
  const now = computed(() => machineNow.value + feed.value.clockOffset)
  const timeZones = computed(() => new Map(feed.value.sites.map((site) => [site.code, site.time_zone])))

  function start(): void {
    ticker ??= window.setInterval(tick, TICK_MS)
    document.addEventListener('visibilitychange', wake)
    client.start()
  }

  /** Leave nothing behind: the next person to log in may see other sites. */
  function stop(): void {
    client.stop()
    client.lastMessageAt = null
    document.removeEventListener('visibilitychange', wake)
    if (ticker !== null) window.clearInterval(ticker)
    ticker = null
    feed.value = EMPTY_FEED
    following.value = false
    lastMessageAt.value = null
  }

  function takeAlarm(alarm: AlarmBody): void {
    feed.value = applyAlarm(feed.value, alarm, Date.now())
  }

  function takeApproval(approval: ApprovalBody): void {
    feed.value = applyApproval(feed.value, approval)
  }

  function timeZoneOf(site: string): string {
    return timeZones.value.get(site) ?? 'UTC'
  }

  function tick(): void {
    machineNow.value = Date.now()
    lastMessageAt.value = client.lastMessageAt
    feed.value = forgetOldClosed(feed.value, machineNow.value)
  }

  function wake(): void {
    client.checkSilence()
    tick()
  }

  return { feed, connection, dataAge, lastMessageAt, now, start, stop, takeAlarm, takeApproval, timeZoneOf }
})
