/** Texts about unreadable messages, unread topics and implausible values. */

import type zhCN from './texts.zh-CN'

const en: typeof zhCN = {
  unread: {
    title: 'Messages that could not be read, last 24 h',
    site: '{site}: {n}',
    noSite: 'unknown site',
    topics: 'Topics that nobody reads: {n}',
    what: 'What may be a matter of life and death has an alarm of its own. Tell the administrator of the rest.',
    topicsWhat: 'Devices publish here, and neither the wire contract nor a mapping takes it.',
    times: '{n} messages',
    reason: {
      bad_topic: 'topic not understood',
      no_mapping: 'no mapping takes this topic',
      too_large: 'too large',
      empty: 'empty',
      bad_encoding: 'encoding not understood',
      not_json: 'not JSON',
      not_object: 'not an object',
      no_fields: 'no known field',
      duplicate_key: 'a name stands twice',
      too_many_fields: 'too many fields',
      bad_field: 'a field could not be read',
      unknown_choice: 'unknown word',
      too_many_samples: 'too many samples',
      bad_time: 'time not understood',
      refused_by_store: 'refused by the history store',
      not_decided: 'could not be judged',
      left_out: 'has fields that nobody takes',
    },
    implausible: 'This value cannot be true: check the sensor, its cable and its unit.',
  },
}

export default en
