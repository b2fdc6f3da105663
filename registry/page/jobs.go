package page

import (
	"slices"
	"time"
)

// job is one line in the list of imports, pushes and scrubs.
type job struct {
	Job
	// Kind is "import", "push" or "scrub".
	Kind string
	// Level is "good", "busy", "note" or "bad".
	Level   string
	Running bool
	// Left is the estimated remaining time; empty if it is unknown.
	Left    string
	Percent int64
}

// jobsOf lists imports, pushes and the scrub. Running jobs come first, then failed, waiting and
// completed ones.
func jobsOf(s Status) []job {
	var all []job
	for _, j := range s.Imports {
		all = append(all, newJob("import", j))
	}
	for _, j := range s.Pushes {
		all = append(all, newJob("push", j))
	}
	if scrub := s.Scrub; scrub != nil && scrub.Bytes < scrub.Total {
		all = append(all, newJob("scrub", Job{Name: "all blobs", State: "reading", Bytes: scrub.Bytes, Total: scrub.Total, Rate: scrub.Rate}))
	}
	order := []string{"busy", "bad", "note", "good"}
	slices.SortStableFunc(all, func(a, b job) int { return slices.Index(order, a.Level) - slices.Index(order, b.Level) })
	return all
}

func newJob(kind string, j Job) job {
	levels := map[string]string{"failed": "bad", "waiting": "note", "published": "good", "pushed": "good"}
	one := job{Job: j, Kind: kind, Level: levels[j.State]}
	if one.Level == "" {
		one.Level, one.Running = "busy", true
	}
	if j.Total > 0 {
		one.Percent = max(0, min(100, j.Bytes*100/j.Total))
		if j.Rate > 0 && j.Bytes < j.Total {
			left := time.Duration(float64(j.Total-j.Bytes) / float64(j.Rate) * float64(time.Second))
			one.Left = max(time.Second, left).Round(time.Second).String()
		}
	}
	return one
}
