/** 被搁置、停用或抑制的报警，以及搁置操作的文字。 */

export default {
  setAside: {
    title: '暂不提示（{n}）',
    what: '报警仍未结束，只是不发声、不计数；到时会以真实状态自动恢复提示。',
    reason: {
      shelved: '已搁置',
      out_of_service: '停用检修',
      maintenance: '计划检修',
      parent: '关联抑制：原因已知',
      rule: '关联抑制',
    },
    by: '{who}',
    byTwo: '{who}、{second}',
    until: '至 {time}',
    untilReturned: '至恢复投用',
    untilCauseEnds: '至原因消除',
    takeBack: '取消搁置',
  },
  shelving: {
    shelve: '搁置',
    title: '搁置：{title}',
    what: '到时之前不发声，再次发生也不提示。记录会写明操作人和原因。',
    reason: '原因',
    reasonWanted: '请简单写明原因。',
    howLong: '时长',
    minutes: '{n} 分钟',
    hours: '{n} 小时',
    oneShot: '直到恢复',
    submit: '搁置',
    cancel: '取消',
    done: '已搁置：{title}',
    takenBack: '已取消搁置：{title}',
    refused: '没有完成：{title}',
  },
}
