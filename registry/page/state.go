package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"html/template"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// state is the status of the server at one time, together with the sections that show it.
type state struct {
	at       time.Time
	status   Status
	health   health
	sections map[string]section
}

// section is a part of a page that events update.
type section struct {
	Name string
	// HTML was rendered from a template, so it is already escaped.
	HTML template.HTML
	Hash string
}

// stateEvery is how long a state is reused.
const stateEvery = time.Second

// state returns the state of the server, which is at most about a second old. While one caller
// updates the state, all other callers get the previous one.
func (p *Page) state(ctx context.Context) *state {
	last := p.current.Load()
	if last == nil {
		p.refreshing.Lock()
	} else if p.options.Now().Sub(last.at) < stateEvery || !p.refreshing.TryLock() {
		return last
	}
	defer p.refreshing.Unlock()
	if last = p.current.Load(); last != nil && p.options.Now().Sub(last.at) < stateEvery {
		return last
	}
	// Other callers will use this state too, so it must not depend on the context of this caller.
	s := &state{status: p.options.Status(context.WithoutCancel(ctx)), sections: map[string]section{}}
	s.health = healthOf(s.status)
	for _, name := range []string{"pill", "right", "incoming", "there"} {
		var b bytes.Buffer
		if err := p.templates["live"].ExecuteTemplate(&b, name, s.view()); err != nil {
			b.Reset()
			b.WriteString(template.HTMLEscapeString(err.Error()))
		}
		sum := sha256.Sum256(b.Bytes())
		s.sections[name] = section{name, template.HTML(b.String()), hex.EncodeToString(sum[:8])}
	}
	s.at = p.options.Now()
	p.current.Store(s)
	return s
}

// view is the data for the templates of those sections that events update.
type view struct {
	Status
	Health health
	// Causes are the first maxCauses causes.
	Causes []*problem.Cause
	// More is the number of causes that are not in Causes.
	More int
	Jobs []job

	Ready, Unready []layoutstore.SourceStatus
}

// maxCauses limits how many causes the overview shows.
const maxCauses = 8

func (s *state) view() view {
	v := view{Status: s.status, Health: s.health, Causes: s.health.causes, Jobs: jobsOf(s.status)}
	if len(v.Causes) > maxCauses {
		v.Causes, v.More = v.Causes[:maxCauses], len(v.Causes)-maxCauses
	}
	for _, source := range s.status.Sources {
		if source.State == "ready" {
			v.Ready = append(v.Ready, source)
		} else {
			v.Unready = append(v.Unready, source)
		}
	}
	return v
}

// health is the overall health of the server, which the overview shows.
type health struct {
	Level  string // one of "good", "busy", "note" and "bad"
	Short  string
	Long   string
	causes []*problem.Cause
}

func healthOf(s Status) health {
	causes := problem.Causes(s.Problems)
	failures := 0
	for _, p := range s.Problems {
		if p.IsFailure() {
			failures++
		}
	}
	failed := failedJobs(s.Imports) + failedJobs(s.Pushes)
	switch {
	case failures > 0:
		return health{"bad", countOf(failures, "problem", "problems"), "Some content cannot be served. All other content is served.", causes}
	case failed > 0:
		return health{"bad", countOf(failed, "failed transfer", "failed transfers"), "Everything in the sources can be served, but an import or a push failed.", causes}
	case !s.Checked:
		return health{"busy", "Being checked", "The check of the sources is still running. Content is served meanwhile.", causes}
	case s.Repositories == 0:
		return health{"note", "Nothing to serve", "There is no repository in the sources yet.", causes}
	case len(s.Problems) > 0:
		return health{"note", "All served, " + countOf(len(s.Problems), "note", "notes"), "Everything in the sources can be served. The notes below say what to check.", causes}
	}
	return health{"good", "All right", "Everything in the sources can be served.", causes}
}

// failedJobs counts failed jobs. A failed job does not count if a job with the same name has
// started or succeeded after it.
func failedJobs(jobs []Job) (n int) {
	for _, j := range jobs {
		if j.State == "failed" && !slices.ContainsFunc(jobs, func(k Job) bool {
			return k.Name == j.Name && k.State != "failed" && k.State != "waiting" && !k.Since.Before(j.Since)
		}) {
			n++
		}
	}
	return n
}
