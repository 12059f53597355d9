/** Texts about alarms that something keeps quiet, and about shelving. */

import type zhCN from './texts.zh-CN'

const en: typeof zhCN = {
  setAside: {
    title: 'Set aside ({n})',
    what: 'Open, but without sound and not counted. Each comes back by itself, in its true state.',
    reason: {
      shelved: 'Shelved',
      out_of_service: 'Out of service',
      maintenance: 'Maintenance',
      parent: 'Suppressed: its cause is known',
      rule: 'Suppressed by design',
    },
    by: 'by {who}',
    byTwo: 'by {who}, with {second}',
    until: 'until {time}',
    untilReturned: 'until it is returned to service',
    untilCauseEnds: 'until its cause ends',
    takeBack: 'Take back',
    caused: '+{n} caused by this',
    work: 'Planned work: {place}, until {time}.',
    noneHeard: 'No other open alarms',
    noneHeardNext: 'What is set aside stands below. A new alarm appears here at once.',
    noneWaiting: 'None waiting, {n} set aside',
  },
  shelving: {
    shelve: 'Shelve',
    title: 'Shelve: {title}',
    what: 'No sound until then; new activations stay quiet too. The record names you and the reason.',
    reason: 'Reason',
    reasonWanted: 'Say why, in a few words.',
    howLong: 'How long',
    minutes: '{n} min',
    hours: '{n} h',
    oneShot: 'Until it clears',
    submit: 'Shelve',
    cancel: 'Cancel',
    done: 'Shelved: {title}',
    takenBack: 'Taken back: {title}',
    refused: 'Not done: {title}',
  },
}

export default en
