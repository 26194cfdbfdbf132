# load.gp - how many pairs each expert of each block got, over the mean of its block: one row per block that has
# experts.
#
# Given: run (a run's folder); the terminal is set, standard output is the figure. Reads experts.csv, columns
# 1 layer, 2 expert, 3 rank, 4 pairs. The palette's lightness falls with the load, so greyscale keeps
# the order. Dotted lines part the ranks.

set datafile separator ","
csv = run . "/experts.csv"

stats csv using 1 skip 1 nooutput
array row[STATS_max + 1]
array mean[STATS_max + 1]
do for [b = 1:|row|] { row[b] = -1; mean[b] = 0 }
stats csv using 3 skip 1 nooutput
ranks = STATS_max + 1
stats csv using 2 skip 1 nooutput
experts = STATS_max + 1

# The sum of each block's pairs, then its row and mean.
stats csv using (row[$1 + 1] = 0, mean[$1 + 1] = mean[$1 + 1] + $4, 0) skip 1 nooutput
rows = 0
do for [b = 1:|row|] {
    if (row[b] == 0) { row[b] = rows; rows = rows + 1; mean[b] = mean[b] / experts }
}
load(block, pairs) = mean[block + 1] > 0 ? pairs / mean[block + 1] : 0
stats csv using (load($1, $4)) skip 1 nooutput
highest = STATS_max

set palette defined (0 "#ffffff", 1 "#c6dbef", 2 "#6baed6", 4 "#2171b5", 8 "#08306b")
set cbrange [0:(highest < 4 ? 4 : highest)]
set cblabel "load / mean of the block" offset 0
set colorbox user origin 0.88, 0.2 size 0.025, 0.68
set cbtics scale 0.4 offset -0.6, 0
set rmargin at screen 0.86
set xlabel "expert" offset 0, 0.4
set ylabel "block" offset 0.2
set xrange [-0.5:experts - 0.5]
set yrange [rows - 0.5:-0.5]
set xtics out nomirror scale 0.5 offset 0, 0.3
if (experts <= 10) { set xtics 0, 1 }
set ytics out nomirror scale 0.5 ()
every = rows > 20 ? 5 : rows > 10 ? 2 : 1
do for [b = 1:|row|] {
    if (row[b] >= 0 && row[b] % every == 0) { set ytics add (sprintf("%d", b - 1) row[b]) }
}
set border lw 0.7
unset key

per_rank = experts / ranks
if (ranks > 1 && ranks <= 64) {
    do for [r = 1:ranks - 1] {
        set arrow from r * per_rank - 0.5, -0.5 to r * per_rank - 0.5, rows - 0.5 nohead front \
            lt 1 lw 0.5 dt 3 lc rgb "#606060"
    }
}
# An image has at least two rows and columns.
if (rows > 1 && experts > 1) {
    plot csv using 2:(row[$1 + 1]):(load($1, $4)) skip 1 with image
} else {
    set style fill solid noborder
    plot csv using 2:(row[$1 + 1]):($2 - 0.5):($2 + 0.5):(row[$1 + 1] - 0.5):(row[$1 + 1] + 0.5):(load($1, $4)) \
        skip 1 with boxxyerror fc palette
}
