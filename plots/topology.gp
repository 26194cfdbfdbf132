# topology.gp - GPUs, NICs and switches with the links between them; levels are rows, grids lie flat.
#
# Given: $vertices, columns 1 x, 2 y, 3 part (0 GPU, 1 NIC, 2 switch, 3 port of a GPU's PCIe lanes); $links, columns
# 1 x, 2 y, 3 dx, 4 dy, 5 bandwidth, 6 state (0 as usual, 1 slowed by the file's links, 2 broken), 7 fabric
# (0 scale-up, 1 scale-out); terminal and output are set. The thicker a line, the faster the link.

set datafile separator ","
array parts[4] = [0, 0, 0, 0]
array states[3] = [0, 0, 0]
array fabrics[2] = [0, 0]
stats $links using (states[$6 + 1] = 1, $6 == 0 ? fabrics[$7 + 1] = 1 : 0, $5) skip 1 nooutput
fastest = STATS_max > 0 ? STATS_max : 1
stats $vertices using (parts[$3 + 1] = 1, $1) skip 1 nooutput
count = STATS_records
width = STATS_max - STATS_min
size = count > 1000 ? 0.2 : count > 200 ? 0.5 : count > 60 ? 0.8 : 1

unset border
unset tics
set key outside top center horizontal Left reverse samplen 1.5 width 1 spacing 1.1
set xrange [STATS_min - 0.03 * width - 1e-6:STATS_max + 0.03 * width + 1e-6]
set offsets 0, 0, 0.3, 0.3

# Three widths: up to a tenth of the fastest link's rate, up to a half, above.
class(rate) = rate > 0.5 * fastest ? 2 : rate > 0.1 * fastest ? 1 : 0
is(value, wanted) = value == wanted ? 1 : NaN

# Every name once, and only of what there is.
plot for [c = 0:2] $links using ($1 * is($6, 0) * is($7, 0) * is(class($5), c)):2:3:4 skip 1 \
        with vectors nohead lc rgb "#6baed6" lw size * (0.5 + 0.8 * c) title (c == 2 && fabrics[1] ? "scale-up" : ""), \
    for [c = 0:2] $links using ($1 * is($6, 0) * is($7, 1) * is(class($5), c)):2:3:4 skip 1 \
        with vectors nohead lc rgb "#969696" lw size * (0.5 + 0.8 * c) title (c == 1 && fabrics[2] ? "scale-out" : ""), \
    $links using ($1 * is($6, 1)):2:3:4 skip 1 \
        with vectors nohead lc rgb "#e6550d" lw 1.5 title (states[2] ? "slowed" : ""), \
    $links using ($1 * is($6, 2)):2:3:4 skip 1 \
        with vectors nohead lc rgb "#e6550d" dt 2 lw 1.5 title (states[3] ? "broken" : ""), \
    $vertices using ($1 * is($3, 3)):2 skip 1 with points pt 7 ps size * 0.4 lc rgb "#969696" notitle, \
    $vertices using ($1 * is($3, 0)):2 skip 1 with points pt 5 ps size lc rgb "#08306b" title "GPU", \
    $vertices using ($1 * is($3, 1)):2 skip 1 \
        with points pt 9 ps size lc rgb "#e6550d" title (parts[2] ? "NIC" : ""), \
    $vertices using ($1 * is($3, 2)):2 skip 1 \
        with points pt 7 ps size * 1.4 lc rgb "#525252" title (parts[3] ? "switch" : "")
