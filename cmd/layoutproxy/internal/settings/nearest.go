package settings

import "strings"

// nearest returns the name that is the fewest edits away from what somebody wrote; the
// beginning of a name is one edit away from it.
func nearest(written string, names []string) string {
	written = written[:min(len(written), 100)]
	best, least := "", 1<<30
	for _, name := range names {
		d := distance(written, name)
		if len(written) > 2 && strings.HasPrefix(name, written) {
			d = min(d, 1)
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// distance returns how many bytes have to be put in, taken out or replaced.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
