package doctor

import "fmt"

// State is the result of a step.
type State string

// The states of a step.
const (
	OK      State = "ok"
	Warning State = "warning" // it works, but may stop working, or not work as intended
	Failed  State = "failed"
	Skipped State = "skipped" // there was nothing to check
)

// Names returns the names of the steps, in order.
func Names() []string {
	return []string{
		stepName, stepConnection, stepTLS, stepAPI, stepCredentials, stepClock, stepContent,
		stepTag, stepManifest, stepChild, stepBlob, stepHosts, stepContainerd,
	}
}

const (
	stepName        = "name"
	stepConnection  = "connection"
	stepTLS         = "tls"
	stepAPI         = "api"
	stepCredentials = "credentials"
	stepClock       = "clock"
	stepContent     = "content"
	stepTag         = "tag"
	stepManifest    = "manifest"
	stepChild       = "child"
	stepBlob        = "blob"
	stepHosts       = "hosts.toml"
	stepContainerd  = "containerd"
)

// Step is the result of one check.
type Step struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail"`           // one line
	Advice string `json:"advice,omitempty"` // what to do, if anything
	// Content is true if content of the registry is damaged or missing. It is false if the
	// registry cannot be reached or used.
	Content bool `json:"content,omitempty"`
}

// Report is the result of [Run].
type Report struct {
	URL   string `json:"url"`
	Image string `json:"image,omitempty"`
	// State is that of the worst step.
	State State  `json:"state"`
	Steps []Step `json:"steps"`
}

// Content reports whether a failure is in the content.
func (r *Report) Content() bool {
	for _, s := range r.Steps {
		if s.State == Failed && s.Content {
			return true
		}
	}
	return false
}

func (r *Report) add(s Step) {
	r.Steps = append(r.Steps, s)
	switch {
	case s.State == Failed:
		r.State = Failed
	case s.State == Warning && r.State == OK:
		r.State = Warning
	}
}

// The results of a step; run sets its name.

func ok(format string, args ...any) Step {
	return Step{State: OK, Detail: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Step {
	return Step{State: Skipped, Detail: fmt.Sprintf(format, args...)}
}

func warning(advice, format string, args ...any) Step {
	return Step{State: Warning, Detail: fmt.Sprintf(format, args...), Advice: advice}
}

func failed(advice, format string, args ...any) Step {
	return Step{State: Failed, Detail: fmt.Sprintf(format, args...), Advice: advice}
}

// damaged returns a failure of the content.
func damaged(advice, format string, args ...any) Step {
	s := failed(advice, format, args...)
	s.Content = true
	return s
}
