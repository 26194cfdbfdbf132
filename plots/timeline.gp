# timeline.gp - what every GPU does when: one row per GPU, one box per phase.
#
# Given: run (a run's folder), blocks ("0-3": the blocks of the first step to draw; "": the first four that the run
# has); the terminal is set, standard output is the figure. Reads ranks.csv, columns 1 step, 2 layer, 3 phase, 4 rank, 5 start_s, 6 end_s. Communication
# includes waiting for other ranks. Fills as in step.gp.

set datafile separator ","
csv = run . "/ranks.csv"

phases = "attention router dispatch shared experts combine dense head collective"
array label[9] = ["attention", "router", "dispatch", "shared experts", "experts", "combine", \
                  "dense FFN", "LM head", "collective"]
array color[9] = ["#08306b", "#525252", "#e6550d", "#ffffff", "#9ecae1", "#fdd0a2", "#969696", "#f0f0f0", "#3182bd"]
order(name) = sum [i = 1:9] (word(phases, i) eq name ? i : 0)

stats csv using 1 skip 1 nooutput
steps = STATS_max + 1
stats csv using 2 skip 1 nooutput
blockless = STATS_max < 0 # a collective alone
last = STATS_max
dash = strstrt(blocks, "-")
from = int(dash > 0 ? blocks[1:dash - 1] : blocks eq "" ? 0 : blocks)
to = int(dash > 0 ? blocks[dash + 1:*] : blocks eq "" ? last : blocks)
if (blocks eq "" && !blockless) {
    # The next block after the ones found, up to four times.
    to = -1
    do for [i = 1:4] {
        stats csv using ($2 > to ? $2 : last) skip 1 nooutput
        to = STATS_min
    }
}
wanted(step, layer) = step == 0 && (blockless || layer >= from && layer <= to)

# What is drawn, which may be less than what was asked for.
if (!blockless) {
    stats csv using (wanted($1, $2) ? $2 : NaN) skip 1 nooutput
    if (STATS_records > 0) { from = int(STATS_min); to = int(STATS_max) }
}
stats csv using 4 skip 1 nooutput
ranks = STATS_max + 1
stats csv using (wanted($1, $2) ? $5 * 1e6 : NaN) skip 1 nooutput
begin = STATS_records > 0 ? STATS_min : 0
stats csv using (wanted($1, $2) ? $6 * 1e6 : NaN) skip 1 nooutput
end = STATS_records > 0 ? STATS_max : 1

array used[9]
do for [i = 1:9] {
    stats csv using (wanted($1, $2) && order(strcol(3)) == i ? $6 - $5 : 0) skip 1 nooutput
    used[i] = STATS_sum > 0
}

set style fill solid 1.0 border rgb "black"
set border 3 lw 0.7
drawn = blockless ? "" : from == to ? sprintf(", block %d", from) : sprintf(", blocks %d to %d", from, to)
set xlabel "time (µs)" . drawn . (steps > 1 ? " of the first step" : "") offset 0, 0.4
set ylabel "GPU" offset 0.8
set xrange [begin:end]
set yrange [ranks - 0.5:-0.5]
set xtics out nomirror scale 0.5 offset 0, 0.3
set ytics out nomirror scale 0.5
set key outside top center horizontal Left reverse samplen 1.5 width 1 spacing 1.1

height = 0.42
edge = ranks > 16 ? 0 : 0.3
plot for [i = 1:9] NaN with boxes fc rgb color[i] lw 0.5 title (used[i] ? label[i] : ""), \
    for [i = 1:9] csv \
        using (wanted($1, $2) && order(strcol(3)) == i && $6 > $5 ? ($5 + $6) * 0.5e6 : NaN):4: \
              ($5 * 1e6):($6 * 1e6):($4 - height):($4 + height) skip 1 \
        with boxxyerror fc rgb color[i] lw edge notitle
