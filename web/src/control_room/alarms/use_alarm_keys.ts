/** The keyboard in the alarm list: arrows select, `a` acknowledges what is selected. */

import { onBeforeUnmount, onMounted, type Ref, ref, watch } from 'vue'

import { neighbour } from './alarm_order'

const STEPS: Readonly<Record<string, 1 | -1>> = { ArrowDown: 1, ArrowUp: -1 }

interface KeyActs {
  acknowledge: (id: string) => void
  /** The selection went to another row, which should now be brought into view. */
  stepped: () => void
}

export function useAlarmKeys(ids: Readonly<Ref<readonly string[]>>, acts: KeyActs) {
  const selected = ref<string | null>(null)

  function onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return
    const step = STEPS[event.key]
    if (step) {
      event.preventDefault()
      selected.value = neighbour(ids.value, selected.value, step)
      acts.stepped()
    } else if (event.key.toLowerCase() === 'a' && !event.repeat) {
      // A key that is held down answers one alarm, not one after another.
      if (selected.value !== null) acts.acknowledge(selected.value)
    }
  }

  // The selection holds on to its alarm while the list moves around it, and never jumps to another one.
  watch(ids, (present) => {
    if (selected.value !== null && !present.includes(selected.value)) selected.value = null
  })
  onMounted(() => {
    window.addEventListener('keydown', onKey)
  })
  onBeforeUnmount(() => {
    window.removeEventListener('keydown', onKey)
  })

  return selected
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest('input, textarea, select, [contenteditable]') !== null
}
