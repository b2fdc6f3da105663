package doctor

import (
	"fmt"
	"slices"
)

// State is the result of a step.
type State string

// The possible states of a step.
const (
	OK State = "ok"
	// Warning means that everything works, but may stop working, or not work as intended.
	Warning State = "warning"
	Failed  State = "failed"
	// Skipped means that there was nothing to check, or that the step depends on a failed one.
	Skipped State = "skipped"
)

// Step is the result of one check.
type Step struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Detail is one line about the result.
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"`
	// Content is true if content of the registry is damaged or missing. It is false if the
	// registry cannot be reached or used.
	Content bool `json:"content,omitempty"`
}

// Report is the result of [Run].
type Report struct {
	URL   string `json:"url"`
	Image string `json:"image,omitempty"`
	// State is the worst state of all steps.
	State State  `json:"state"`
	Steps []Step `json:"steps"`
}

// Content reports whether content of the registry is damaged or missing.
func (r *Report) Content() bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.State == Failed && s.Content })
}

func (r *Report) add(s Step) {
	r.Steps = append(r.Steps, s)
	if rank(s.State) > rank(r.State) {
		r.State = s.State
	}
}

// The functions below return the result of a step without its name, which [Run] sets.

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

// damaged returns a failed step about damaged or missing content.
func damaged(advice, format string, args ...any) Step {
	s := failed(advice, format, args...)
	s.Content = true
	return s
}
