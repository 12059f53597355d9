/**
 * Buttons that have just come under somebody's pointer. When the list moves, a click that was meant for one alarm
 * would answer another, and the second half of a double click would answer the next one: for a moment such a
 * button does not act.
 */

import { onBeforeUnmount, type Ref, shallowRef, watch } from 'vue'

import { changedPlaces } from './alarm_order'

const SETTLING_MS = 400

export function useSettling(ids: Readonly<Ref<readonly string[]>>) {
  const settling = shallowRef<ReadonlySet<string>>(new Set())
  let timer = 0

  watch(ids, (after, before) => {
    const moved = changedPlaces(before, after)
    if (moved.length === 0) return
    settling.value = new Set([...settling.value, ...moved])
    window.clearTimeout(timer)
    timer = window.setTimeout(() => {
      settling.value = new Set()
    }, SETTLING_MS)
  })
  onBeforeUnmount(() => {
    window.clearTimeout(timer)
  })

  return settling
}
