"""The style sheet of all pages: light and dark, from a phone's width on, and on paper."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--card:#f6f7f9;--text:#1c2330;--dim:#5b6577;--rule:#d9dee7;
--main:#2563c9;--second:#8a4fc4;--warn:#b45309;--good:#1a7f4b;--bad:#c0392b;--band:#f3d9a4}
@media(prefers-color-scheme:dark){:root{--back:#12161d;--card:#1b212b;--text:#e6eaf1;--dim:#9aa6b8;--rule:#323b49;
--main:#6ea8ff;--second:#c59bf2;--warn:#f0a04b;--good:#5fd19a;--bad:#ff8a7a;--band:#5b4a26}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.6rem;line-height:1.25;margin:0}
h2{font-size:1.1rem;margin:0}
p{margin:.3rem 0}
a{color:var(--main)}
header{margin-bottom:1.2rem}
progress{width:100%;height:.6rem;accent-color:var(--main)}
.state{display:inline-block;padding:.05rem .6rem;border:1px solid;border-radius:1rem;font-weight:600;color:var(--dim)}
.state.running,.state.finished,.state.kept{color:var(--good)}
.state.stopped,.state.incomplete,.state.encrypted,.state.paused,.state.waiting{color:var(--warn)}
.state.failed,.state.killed,.state.damaged,.state.stuck,.state.silent{color:var(--bad)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.6rem;margin:0 0 1.6rem}
.facts div{background:var(--card);border-radius:.5rem;padding:.5rem .75rem}
.facts .wide{grid-column:1/-1}
dt{color:var(--dim);font-size:.85rem}
dd{margin:0;font-weight:600}
figure,section{margin:0 0 1.8rem;break-inside:avoid}
figcaption p{color:var(--dim);margin:.1rem 0 .5rem}
.chart{display:grid;grid-template:12rem 1.6rem/3.6rem 1fr;padding-top:.6rem}
.chart svg{width:100%;height:100%;overflow:visible;display:block}
.y,.x{position:relative;font-size:.75rem;color:var(--dim)}
.y span{position:absolute;right:.5rem;transform:translateY(50%);white-space:nowrap}
.x{grid-column:2}
.x span{position:absolute;top:.3rem;transform:translateX(-50%);white-space:nowrap}
.x span:first-child{transform:none}
.x span:last-child:not(:first-child){transform:translateX(-85%)}
svg path{fill:none;vector-effect:non-scaling-stroke}
.grid{stroke:var(--rule);stroke-width:1}
.level{stroke:var(--good);stroke-width:1.5;stroke-dasharray:2 4}
.mark{stroke:var(--dim);stroke-width:1;stroke-dasharray:4 3;opacity:.7;pointer-events:stroke}
.mark.faint{opacity:.25}
.band{fill:var(--band);opacity:.75}
.line{stroke-width:2;stroke-linejoin:round;stroke:var(--main)}
.line.second{stroke:var(--second);stroke-dasharray:6 4}
.line.warn{stroke:var(--warn)}
.key{list-style:none;display:flex;flex-wrap:wrap;gap:1rem;margin:0;padding:0;font-size:.85rem}
.key i{display:inline-block;width:1.6rem;border-top:2px solid var(--main);vertical-align:middle;margin-right:.4rem}
.key i.second{border-top:2px dashed var(--second)}
.key i.warn{border-color:var(--warn)}
.scroll{overflow-x:auto;margin-top:.5rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;overflow-wrap:normal}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{color:var(--dim);font-weight:600;white-space:nowrap}
td{max-width:28rem}
td:last-child{min-width:9rem;overflow-wrap:anywhere}
td:last-child:nth-child(n+3){min-width:14rem}
.jobs td:first-child{min-width:8rem;overflow-wrap:anywhere}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.number{min-width:0}
footer{color:var(--dim);font-size:.85rem}
form{display:inline}
button{font:inherit;margin:.15rem 0;padding:.2rem .8rem;border:1px solid var(--rule);border-radius:.4rem;
background:var(--card);color:inherit}
@media print{:root{--back:#fff;--card:#fff;--text:#000;--dim:#444;--rule:#bbb;--main:#124a9e;--second:#6a32a8;
--warn:#8a4006;--good:#17633b;--bad:#9c2718;--band:#eee}
body{font-size:11pt}main{max-width:none;padding:0}.chart{grid-template-rows:9rem 1.6rem}
.scroll{overflow:visible}.facts div{border:1px solid var(--rule)}.band{print-color-adjust:exact}}
"""
"""CSS, in one text."""
