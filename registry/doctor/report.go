package doctor

import "fmt"

// State is how a step ended.
type State string

// The states of a step.
const (
	OK      State = "ok"
	Warning State = "warning" // it works, and may not for long, or not as it seems
	Failed  State = "failed"
	Skipped State = "skipped" // there was nothing to look at
)

// Names are the steps in their order.
func Names() []string {
	return []string{
		stepName, stepConnection, stepTLS, stepAPI, stepCredentials, stepClock,
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
	stepTag         = "tag"
	stepManifest    = "manifest"
	stepChild       = "child"
	stepBlob        = "blob"
	stepHosts       = "hosts.toml"
	stepContainerd  = "containerd"
)

// Step is what one look found.
type Step struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail"`           // one line
	Advice string `json:"advice,omitempty"` // what to do, where something is to be done
	// Content says that a failure lies in what the registry serves, or lacks, and not
	// in the way there.
	Content bool `json:"content,omitempty"`
}

// Report is what [Run] found.
type Report struct {
	URL   string `json:"url"`
	Image string `json:"image,omitempty"`
	// State is that of the worst step.
	State State  `json:"state"`
	Steps []Step `json:"steps"`
}

// Content says whether a failure lies in the content.
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

// The ends of a step; run gives it its name.

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

// damaged is a failure of the content.
func damaged(advice, format string, args ...any) Step {
	s := failed(advice, format, args...)
	s.Content = true
	return s
}
