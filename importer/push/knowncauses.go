package push

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// If the clocks differ by at least maxSkew, Diagnose takes this as the cause of a refused request.
const maxSkew = time.Minute

func clockDiffers(e *client.Error) (cause, remedy string) {
	// A token server, or a registry with Basic authentication, checks only the password, not the time.
	if !refusesAccess(e) || asksForToken(e) || e.Scheme == "basic" || e.Anonymous || e.Skew.Abs() < maxSkew {
		return "", ""
	}
	return fmt.Sprintf("the clocks of this machine and of %s differ by %s, so tokens are invalid", e.Host, e.Skew.Abs().Round(time.Second)),
		"set both clocks, preferably by NTP, and try again"
}

func notLoggedIn(e *client.Error) (cause, remedy string) {
	asked := e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && (e.Scheme != "" || asksForToken(e))
	if !e.Anonymous || !asked {
		return "", ""
	}
	return "nobody is logged in to " + e.Host, "log in with docker login, or give --username and --password-stdin"
}

func loginRefused(e *client.Error) (cause, remedy string) {
	switch {
	case mentions(e, "authorization token has expired"):
		return "the login to " + e.Host + " has expired", "log in again: for ECR, aws ecr get-login-password returns a password that is valid for twelve hours"
	case e.Status != http.StatusUnauthorized || e.Anonymous:
		return "", ""
	case asksForToken(e):
		return "the token server " + e.Host + " refuses the login", "check the name and the password: quote a robot's name that contains $ or +, and give a token if the registry wants one instead of the password"
	case e.Scheme == "basic":
		return e.Host + " refuses the login", "check the name and the password; some registries want a token instead of the password"
	}
	return "", ""
}

func quotaUsedUp(e *client.Error) (cause, remedy string) {
	if e.Status == http.StatusTooManyRequests || !mentions(e, "will exceed the configured upper limit", "quota") {
		return "", ""
	}
	return "a quota of " + projectOf(e) + " is used up", "raise the quota, or remove old images from the project and run the registry's garbage collection; the next push resumes"
}

func diskFull(e *client.Error) (cause, remedy string) {
	// distribution reports only the errno of its file system driver, without a text.
	if e.Status != http.StatusInsufficientStorage && !mentions(e, "no space left", `"err":28`, "disk quota exceeded", `"err":122`) {
		return "", ""
	}
	return "the registry has no free space left", "free space in the registry's storage; the next push resumes"
}

func registryLimits(e *client.Error) (cause, remedy string) {
	tooLarge := e.Status == http.StatusRequestEntityTooLarge && len(e.Codes) > 0 || e.Op == "put manifest" && mentions(e, "too large")
	switch {
	case !tooLarge:
		return "", ""
	case e.Op == "put manifest":
		return "the registry accepts no manifest of that size", "raise its limit, which is usually 4 MiB, or choose a registry that accepts larger ones"
	}
	return "the registry limits the size of a layer", "raise its limit, for example MAXIMUM_LAYER_SIZE in Quay"
}

func proxyLimits(e *client.Error) (cause, remedy string) {
	if e.Status != http.StatusRequestEntityTooLarge {
		return "", ""
	}
	who := "the proxy in front of the registry"
	if e.Server != "" {
		who = e.Server + " in front of the registry"
	}
	return who + " limits the size of a request's body",
		"raise its limit: set client_max_body_size 0 in nginx, or the annotation nginx.ingress.kubernetes.io/proxy-body-size: \"0\" of an Ingress"
}

func nameRefused(e *client.Error) (cause, remedy string) {
	depth := strings.Count(e.Repository, "/") + 1
	nested := mentions(e, "nested repositories", "extended repository", "unable to decode repository")
	if !e.HasCode("NAME_INVALID") && !nested && !isTooDeep(e, depth) {
		return "", ""
	}
	return fmt.Sprintf("the registry refuses the name %s: %d segments may be too many for it", e.Repository, depth),
		"push below a shorter path: Quay accepts two segments unless FEATURE_EXTENDED_REPOSITORY_NAMES is set; GitLab accepts two segments below an existing project"
}

// isTooDeep reports whether a name was probably refused because it has too many segments. The
// response does not say so. But the host name reveals the kind of registry, and so its
// limit and the statuses with which it rejects longer names.
func isTooDeep(e *client.Error, depth int) bool {
	switch {
	case mentions(e, "project"):
		return false
	case strings.Contains(e.Host, "quay"):
		return depth > 2 && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed && !mentions(e, "read-only"))
	case strings.Contains(e.Host, "gitlab"):
		return depth > 3 && !e.Anonymous && (e.Status == http.StatusNotFound || e.Status == http.StatusForbidden || e.Status == http.StatusUnauthorized)
	}
	return false
}

func projectMissing(e *client.Error) (cause, remedy string) {
	if e.Status >= 500 || !mentions(e, "project") || !mentions(e, "not found", "not exist", "no such") {
		return "", ""
	}
	project := projectOf(e)
	return fmt.Sprintf("the project %s does not exist in the registry (Harbor)", project), "create the project " + project + " in the registry first, and give the user the right to push to it"
}

func projectOf(e *client.Error) string {
	project, _, _ := strings.Cut(e.Repository, "/")
	return project
}

func repositoryMissing(e *client.Error) (cause, remedy string) {
	switch {
	case e.Status >= 500:
	case strings.Contains(e.Host, ".dkr.ecr.") && e.Status == http.StatusNotFound, mentions(e, "does not exist in the registry with id"):
		return fmt.Sprintf("the repository %s does not exist, and ECR creates no repositories during a push", e.Repository),
			fmt.Sprintf("create it with aws ecr create-repository --repository-name %s, or add a repository creation template for the prefix", e.Repository)
	case e.Op == "start upload" && e.Status == http.StatusNotFound:
		return fmt.Sprintf("the registry does not know the repository %s, and creates no repositories during a push", e.Repository),
			fmt.Sprintf("create the project %s or the repository in the registry first, and check that the path of the destination is right", projectOf(e))
	}
	return "", ""
}

func readOnly(e *client.Error) (cause, remedy string) {
	// If a registry answers 405 to a manifest, it may refuse only that manifest.
	refused := errors.Is(e.Cause, client.ErrUnsupported) && e.Op != "put manifest"
	if !isWrite(e) || !refused && !mentions(e, "read only", "read-only", "readonly", "proxy project", "pull-through") {
		return "", ""
	}
	return "the registry accepts no uploads: it is read-only, a mirror, a proxy cache, or in maintenance", "push to a registry or project that is no mirror and no proxy cache, or end the read-only mode"
}

func tagImmutable(e *client.Error) (cause, remedy string) {
	byTag := e.Op == "put manifest" && !strings.Contains(e.Reference, ":")
	refused := mentions(e, "immutable", "cannot be overwritten", "does not allow updating", "cannot be updated", "tag_already_exists", "to overwrite", "delete/overwrite", "http 403 forbidden")
	status := e.Status == http.StatusConflict || e.Status == http.StatusPreconditionFailed && !e.HasCode("PROJECTPOLICYVIOLATION")
	if !byTag || e.Status >= 500 || !refused && !status {
		return "", ""
	}
	return fmt.Sprintf("the registry refuses to replace the tag %s of %s: the tag is immutable, or the user may not replace it", e.Reference, e.Repository),
		"a push replaces the tags of release channels: exclude them from the rule (immutable tags of Harbor, ECR and Quay; Deployment policy Allow redeploy of Nexus), or give the user the right Delete/Overwrite (Artifactory)"
}

func policyViolated(e *client.Error) (cause, remedy string) {
	if e.Status != http.StatusPreconditionFailed && !e.HasCode("PROJECTPOLICYVIOLATION") {
		return "", ""
	}
	return "a policy of the project " + projectOf(e) + " blocks the image, so that nobody can request it", "during the push, switch off the project's policy against vulnerable or unsigned images, or allow the CVEs of its images"
}

func mayNotRead(e *client.Error) (cause, remedy string) {
	if !isRead(e) || e.Op == "ping" || !refusesAccess(e) && !e.HasCode("DENIED") {
		return "", ""
	}
	return fmt.Sprintf("the user may not read from %s, or the registry has no such project", e.Repository),
		"give the user the right to pull from this repository, because a push looks for existing content; and check that the path is right"
}

func mayNotPush(e *client.Error) (cause, remedy string) {
	switch {
	case asksForToken(e) && e.Status == http.StatusForbidden:
		return fmt.Sprintf("the token server %s grants the user no rights to %s", e.Host, e.Repository), "check that the project exists and the path is right, and give the user the rights to pull from this repository and to push to it"
	case isWrite(e) && (refusesAccess(e) || e.HasCode("DENIED")):
		return fmt.Sprintf("the user may not push to %s", e.Repository), "give the user the right to push to this repository, or log in as a different user with docker login or --username; some registries send the same response if the project does not exist"
	}
	return "", ""
}

func partLost(e *client.Error) (cause, remedy string) {
	if e.Op != "put manifest" || !mentions(e, "blob_unknown", "blob unknown", "manifest_unknown") {
		return "", ""
	}
	return "the registry lost content that it acknowledged before", "push again with --check-blobs; if the error happens again, the registry's storage or a cache in front of it is at fault"
}

func manifestRefused(e *client.Error) (cause, remedy string) {
	if e.Op != "put manifest" || e.Status != http.StatusBadRequest && e.Status != http.StatusUnsupportedMediaType && e.Status != http.StatusNotFound {
		return "", ""
	}
	return "the registry refuses the manifest, usually because of its media type", "the registry must accept OCI images, indexes and artifacts unchanged: upgrade it, or change its policy"
}
