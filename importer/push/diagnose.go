package push

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Diagnosis is an error of a registry with what it means: registries hide quite
// different causes behind one status.
type Diagnosis struct {
	Cause  string // in plain words
	Remedy string // what to do; empty if it is plain
	Err    error
}

func (d *Diagnosis) Error() string { return d.Cause + ": " + d.Err.Error() }
func (d *Diagnosis) Unwrap() error { return d.Err }

// diagnose finds the cause behind an answer, where it is a known one.
func diagnose(err error) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Status == 0 || errors.Is(err, client.ErrOtherHost) {
		return err
	}
	for _, known := range []func(*client.Error) (cause, remedy string){
		clockDiffers, bodyTooLarge, diskFull, repositoryMissing, nameRefused, mayNotPush, readOnly, manifestRefused,
	} {
		if cause, remedy := known(e); cause != "" {
			return &Diagnosis{cause, remedy, err}
		}
	}
	return err
}

// says says whether a message of the answer holds one of some words.
func says(e *client.Error, words ...string) bool {
	for _, c := range e.Codes {
		text := strings.ToLower(c.Code + " " + c.Message)
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
	}
	return false
}

// maxSkew is what token servers and signatures put up with.
const maxSkew = time.Minute

func clockDiffers(e *client.Error) (cause, remedy string) {
	if e.Status != http.StatusUnauthorized && e.Status != http.StatusForbidden || e.Skew.Abs() < maxSkew {
		return "", ""
	}
	return fmt.Sprintf("the clocks of this machine and of %s differ by %s, so that tokens are not valid", e.Host, e.Skew.Abs().Round(time.Second)),
		"set both clocks, by NTP best, and push again"
}

func bodyTooLarge(e *client.Error) (cause, remedy string) {
	if e.Status != http.StatusRequestEntityTooLarge {
		return "", ""
	}
	who := "what stands in front of the registry"
	if e.Server != "" {
		who = e.Server + " in front of the registry"
	}
	return who + " limits the size of a request's body",
		"raise its limit: client_max_body_size 0 in nginx, the annotation nginx.ingress.kubernetes.io/proxy-body-size: \"0\" at an ingress"
}

func diskFull(e *client.Error) (cause, remedy string) {
	if e.Status != http.StatusInsufficientStorage && !says(e, "no space left", "quota") {
		return "", ""
	}
	return "the registry has no room left, or a quota is used up", "make room or raise the quota; what has arrived need not be sent again"
}

func repositoryMissing(e *client.Error) (cause, remedy string) {
	project, _, _ := strings.Cut(e.Repository, "/")
	switch {
	case e.Status >= 500:
	case strings.Contains(e.Host, ".dkr.ecr.") && e.Status == http.StatusNotFound, says(e, "does not exist in the registry with id"):
		return fmt.Sprintf("the repository %s does not exist, and ECR makes none by a push", e.Repository),
			fmt.Sprintf("make it: aws ecr create-repository --repository-name %s; or a repository creation template for the prefix", e.Repository)
	case says(e, "project") && says(e, "not found", "not exist", "no such"):
		return fmt.Sprintf("the project %s does not exist in the registry (Harbor)", project), "make the project " + project + " there first, and let the user push to it"
	case e.Op == "start upload" && e.Status == http.StatusNotFound:
		return fmt.Sprintf("the registry does not know the repository %s and makes none by a push", e.Repository),
			fmt.Sprintf("make the project %s, or the repository itself, there first; is the path of the destination right?", project)
	}
	return "", ""
}

func nameRefused(e *client.Error) (cause, remedy string) {
	depth := strings.Count(e.Repository, "/") + 1
	nested := strings.Contains(e.Host, "quay") || strings.Contains(e.Host, "gitlab") || says(e, "nested", "extended repository")
	if !e.HasCode("NAME_INVALID") && (!nested || depth < 3 || e.Status >= 500 || e.Status == http.StatusUnauthorized || e.Status == http.StatusTooManyRequests) {
		return "", ""
	}
	return fmt.Sprintf("the registry refuses the name %s: %d segments may be too many for it", e.Repository, depth),
		"Quay takes two segments unless FEATURE_EXTENDED_REPOSITORY_NAMES is set, GitLab those of an existing project and two more; push below another path"
}

func mayNotPush(e *client.Error) (cause, remedy string) {
	switch {
	case e.Op == "head manifest" || e.Op == "list tags" || e.Op == "ping":
		return "", ""
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.HasCode("DENIED"):
		return fmt.Sprintf("the user may not push to %s", e.Repository), "log in as one who may, with docker login or --username, or grant the right to push there"
	}
	return "", ""
}

func readOnly(e *client.Error) (cause, remedy string) {
	if e.Op != "start upload" || !errors.Is(e.Cause, client.ErrUnsupported) {
		return "", ""
	}
	return "the registry takes no uploads: it is read-only, a mirror, or in maintenance", "push to the registry itself"
}

func manifestRefused(e *client.Error) (cause, remedy string) {
	if e.Op != "put manifest" || e.Status != http.StatusBadRequest && e.Status != http.StatusUnsupportedMediaType && e.Status != http.StatusNotFound {
		return "", ""
	}
	if says(e, "blob_unknown", "blob unknown", "manifest_unknown") {
		return "the registry lacks something that it has acknowledged before", "push again; if it stays, its storage or a cache in front of it is at fault"
	}
	return "the registry refuses the manifest, its media type as a rule", "it has to take OCI images and indexes and artifacts as they are: a newer version, or another policy of it, does"
}
