# step.gp - where the time goes: one bar per block that the run has, its phases stacked, all steps added up.
#
# Given: run (a run's folder); the terminal is set, standard output is the figure. Reads layers.csv, columns
# 1 step, 2 layer, 3 phase, 6 seconds. The fills differ in lightness, so that they can be told apart in
# greyscale.

set datafile separator ","
csv = run . "/layers.csv"

phases = "attention router dispatch shared experts combine dense head collective"
array label[9] = ["attention", "router", "dispatch", "shared experts", "experts", "combine", \
                  "dense FFN", "LM head", "collective"]
array color[9] = ["#08306b", "#525252", "#e6550d", "#ffffff", "#9ecae1", "#fdd0a2", "#969696", "#f0f0f0", "#3182bd"]
order(name) = sum [i = 1:9] (word(phases, i) eq name ? i : 0)

stats csv using 1 skip 1 nooutput
steps = STATS_max + 1
stats csv using 2 skip 1 nooutput
array bar[STATS_max + 2]

# Which blocks there are, and then the place of each; what is outside of the blocks is bar[1], drawn behind the last.
do for [b = 1:|bar|] { bar[b] = -1 }
stats csv using (bar[$2 < 0 ? 1 : $2 + 2] = 0, 0) skip 1 nooutput
blocks = 0
do for [b = 2:|bar|] {
    if (bar[b] == 0) { bar[b] = blocks; blocks = blocks + 1 }
}
bars = blocks
if (bar[1] == 0) { bar[1] = blocks; bars = bars + 1 }
place(layer) = bar[layer < 0 ? 1 : layer + 2]

array used[9]
do for [i = 1:9] {
    stats csv using (order(strcol(3)) == i ? $6 : 0) skip 1 nooutput
    used[i] = STATS_sum > 0
}

set boxwidth 0.85
set style fill solid 1.0 border rgb "black"
set border 3 lw 0.7
if (blocks > 0) { set xlabel "block" offset 0, 0.4 }
set ylabel (steps > 1 ? sprintf("time of %d steps (µs)", steps) : "time (µs)") offset 0.8
pad = bars < 4 ? 0.5 * (4 - bars) : 0 # a bar is never as wide as the figure
set xrange [-0.7 - pad:bars - 0.3 + pad]
set yrange [0:*]
set xtics out nomirror scale 0.5 offset 0, 0.3 ()
every = blocks > 40 ? 10 : blocks > 12 ? 5 : 1
do for [b = 2:|bar|] {
    if (bar[b] >= 0 && bar[b] % every == 0 && (bars == blocks || every == 1 || blocks - bar[b] > 1)) {
        set xtics add (sprintf("%d", b - 2) bar[b])
    }
}
if (bars > blocks) { set xtics add (blocks > 0 ? "head" : "collective" bar[1]) }
set ytics out nomirror scale 0.5
set grid ytics lt 1 lw 0.4 lc rgb "#d0d0d0"
set key outside top center horizontal Left reverse samplen 1.5 width 1 spacing 1.1

# Bars of phases 1 ... i together, drawn over each other from all of them down to the first; the legend
# comes first, in the order of the stack.
plot for [i = 1:9] NaN with boxes fc rgb color[i] title (used[i] ? label[i] : ""), \
    for [j = 1:9] csv \
        using (place($2)):(used[10 - j] && order(strcol(3)) <= 10 - j ? $6 * 1e6 : 0) skip 1 \
        smooth frequency with boxes fc rgb color[10 - j] notitle
