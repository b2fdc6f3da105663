package daemon

import (
	"time"

	"github.com/layoutproxy/layoutproxy/importer/verify"
)

// scrubStatus is what /status says about the scrub.
type scrubStatus struct {
	Rate       int64      `json:"rate"`       // bytes per second that it may read
	Bytes      int64      `json:"bytes"`      // of total, in the pass under way
	Total      int64      `json:"total"`      // that the pass has to read
	Passes     int64      `json:"passes"`     // completed since the start of the server
	Ended      *time.Time `json:"ended"`      // the last complete pass, also of an earlier server; null before the first
	Damaged    int64      `json:"damaged"`    // copies that were found damaged since the start
	Unreadable int64      `json:"unreadable"` // times that a copy could not be read since the start
}

// statusOfScrub returns the status of a scrub, or nil where none is wanted.
func statusOfScrub(scrub *verify.Scrub) *scrubStatus {
	if scrub == nil {
		return nil
	}
	stats := scrub.Stats()
	s := &scrubStatus{Rate: scrub.Rate, Bytes: stats.PassBytes, Total: stats.PassTotal, Passes: stats.Passes, Damaged: stats.Wrong, Unreadable: stats.Failed}
	if !stats.Ended.IsZero() {
		ended := stats.Ended.UTC().Truncate(time.Second)
		s.Ended = &ended
	}
	return s
}
