package push_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

const (
	clocks     = "the clocks differ"
	login      = "the login is wrong or has expired"
	quota      = "a quota is used up"
	disk       = "the registry has no free space"
	limits     = "the registry limits the size of manifests or layers"
	proxyLimit = "a proxy limits the size of requests"
	segments   = "the name has too many segments"
	project    = "the project does not exist (Harbor)"
	repository = "the repository does not exist (ECR, others)"
	readOnly   = "the registry is read-only, a mirror or a proxy cache"
	immutable  = "the tag may not be replaced"
	policy     = "a policy of the project blocks the image"
	nobody     = "nobody is logged in"
	mayRead    = "the user may not read"
	mayPush    = "the user may not push"
	lost       = "the registry lost a part of the image"
	refused    = "the registry refuses the manifest"
)

// facts returns the error of a failed operation. The client has a login. The registry's host name
// does not reveal what kind of registry it is.
func facts(op string, status int, change ...func(*client.Error)) *client.Error {
	e := &client.Error{Op: op, Host: "registry.example", Repository: "p/a", Reference: "v1", Status: status, Cause: client.ErrRefused}
	for _, c := range change {
		c(e)
	}
	return e
}

func said(code, message string) func(*client.Error) {
	return func(e *client.Error) { e.Codes = append(e.Codes, client.Code{Code: code, Message: message}) }
}

func anonymous(e *client.Error) { e.Anonymous = true }
func basic(e *client.Error)     { e.Scheme = "basic" }
func bearer(e *client.Error)    { e.Scheme = "bearer" }

func skewed(d time.Duration) func(*client.Error) { return func(e *client.Error) { e.Skew = d } }

func at(host, repository string) func(*client.Error) {
	return func(e *client.Error) { e.Host, e.Repository = host, repository }
}

// Each condition of each cause decides at least one of these cases. For each response that meets a
// condition, there is a similar response that does not.
func TestConditionsOfCauses(t *testing.T) {
	t.Parallel()
	unsupported := func(e *client.Error) { e.Cause = client.ErrUnsupported }
	digest := func(e *client.Error) { e.Reference = "sha256:00" }
	for i, c := range []struct {
		e    *client.Error
		want string
	}{
		{facts("start upload", 401, bearer, skewed(time.Minute)), clocks},
		{facts("start upload", 403, bearer, skewed(-time.Hour)), clocks},
		{facts("start upload", 403, bearer, skewed(time.Minute-1)), mayPush},
		{facts("start upload", 404, bearer, skewed(time.Hour)), repository},
		{facts("token", 401, skewed(time.Hour)), login},
		{facts("start upload", 401, basic, skewed(time.Hour)), login},
		{facts("start upload", 401, anonymous, skewed(time.Hour)), nobody},
		{facts("start upload", 403, said("DENIED", "Your authorization token has expired")), login},
		{facts("start upload", 401, bearer), mayPush},
		{facts("start upload", 403, said("DENIED", "Quota has been exceeded")), quota},
		{facts("start upload", 429, said("TOOMANYREQUESTS", "quota of requests")), ""},
		{facts("put blob", 507), disk},
		{facts("put blob", 500, said("UNKNOWN", "no space left on device")), disk},
		{facts("put blob", 500), ""},
		{facts("put blob", 413, said("DENIED", "layer")), limits},
		{facts("put blob", 413), proxyLimit},
		{facts("put manifest", 400, said("MANIFEST_INVALID", "body too large")), limits},
		{facts("put blob", 400, said("BLOB_UPLOAD_INVALID", "body too large")), ""},
		{facts("start upload", 400, said("NAME_INVALID", "x")), segments},
		{facts("start upload", 400, said("UNKNOWN", "Nested repositories are not supported")), segments},
		{facts("start upload", 404, at("quay.example", "a/b/c")), segments},
		{facts("start upload", 405, at("quay.example", "a/b/c"), unsupported), segments},
		{facts("start upload", 405, at("quay.example", "a/b/c"), unsupported, said("UNSUPPORTED", "read-only")), readOnly},
		{facts("start upload", 500, at("quay.example", "a/b/c")), ""},
		{facts("start upload", 404, at("quay.example", "a/b/c"), said("NOT_FOUND", "project not found")), project},
		{facts("start upload", 404, at("gitlab.example", "a/b/c/d")), segments},
		{facts("start upload", 403, at("gitlab.example", "a/b/c/d")), segments},
		{facts("start upload", 401, at("gitlab.example", "a/b/c/d")), segments},
		{facts("token", 401, at("gitlab.example", "a/b/c/d")), login},
		{facts("start upload", 401, at("gitlab.example", "a/b/c/d"), anonymous), nobody},
		{facts("start upload", 500, at("gitlab.example", "a/b/c/d")), ""},
		{facts("start upload", 404, at("gitlab.example", "a/b/c")), repository},
		{facts("put manifest", 404, said("NOT_FOUND", "project p not found")), project},
		{facts("put manifest", 500, said("NOT_FOUND", "project p not found")), ""},
		{facts("put manifest", 404, said("NOT_FOUND", "project p")), refused},
		{facts("head blob", 404, at("1.dkr.ecr.example", "a")), repository},
		{facts("head blob", 403, at("1.dkr.ecr.example", "a")), mayRead},
		{facts("head blob", 400, said("NAME_UNKNOWN", "a does not exist in the registry with id '1'")), repository},
		{facts("start upload", 500, said("NAME_UNKNOWN", "a does not exist in the registry with id '1'")), ""},
		{facts("head blob", 404), ""},
		{facts("start upload", 405, unsupported), readOnly},
		{facts("put manifest", 405, unsupported), ""},
		{facts("get blob", 405, unsupported), ""},
		{facts("start upload", 403, said("DENIED", "proxy project")), readOnly},
		{facts("get blob", 403, said("DENIED", "read only")), mayRead},
		{facts("token", 403, said("DENIED", "read only")), mayPush},
		{facts("put manifest", 409), immutable},
		{facts("put manifest", 412), immutable},
		{facts("put manifest", 412, said("PROJECTPOLICYVIOLATION", "x")), policy},
		{facts("put manifest", 412, digest), policy},
		{facts("put manifest", 409, digest), ""},
		{facts("put manifest", 400, said("TAG_INVALID", "cannot be overwritten")), immutable},
		{facts("put manifest", 500, said("TAG_INVALID", "cannot be overwritten")), ""},
		{facts("put blob", 409), ""},
		{facts("get blob", 403, said("PROJECTPOLICYVIOLATION", "x")), policy},
		{facts("ping", 401, anonymous), nobody},
		{facts("ping", 403, anonymous), ""},
		{facts("ping", 403, anonymous, bearer), nobody},
		{facts("token", 403, anonymous), nobody},
		{facts("get blob", 404, anonymous), ""},
		{facts("ping", 403), ""},
		{facts("get blob", 403), mayRead},
		{facts("get blob", 401), mayRead},
		{facts("get blob", 404, said("DENIED", "x")), mayRead},
		{facts("get blob", 500), ""},
		{facts("token", 403), mayPush},
		{facts("token", 400), ""},
		{facts("put blob", 403), mayPush},
		{facts("put blob", 400, said("DENIED", "x")), mayPush},
		{facts("put blob", 400), ""},
		{facts("put manifest", 400, said("MANIFEST_BLOB_UNKNOWN", "x")), lost},
		{facts("put manifest", 404, said("MANIFEST_UNKNOWN", "x")), lost},
		{facts("put blob", 400, said("BLOB_UNKNOWN", "x")), ""},
		{facts("put manifest", 400), refused},
		{facts("put manifest", 404), refused},
		{facts("put manifest", 415), refused},
		{facts("put manifest", 422), ""},
		{facts("put blob", 415), ""},
	} {
		t.Run(fmt.Sprintf("%02d %s %d", i, c.e.Op, c.e.Status), func(t *testing.T) {
			var known *push.Diagnosis
			if err := push.Diagnose(c.e); errors.As(err, &known) != (c.want != "") || known != nil && known.Kind != c.want {
				t.Errorf("Diagnose of %+v: got %v, want the kind %q", c.e, err, c.want)
			}
		})
	}
}

// Diagnose returns the same error if no registry answered, if the login is for a different host, or
// if the error already has a diagnosis.
func TestErrorsWithoutDiagnosis(t *testing.T) {
	t.Parallel()
	other := facts("put blob", 403)
	other.Cause = client.ErrOtherHost
	known := push.Diagnose(facts("put blob", 403))
	for _, err := range []error{errors.New("x"), facts("put blob", 0), other, known, fmt.Errorf("again: %w", known)} {
		if got := push.Diagnose(err); any(got) != any(err) { // the result must be the same value, not an error that wraps it
			t.Errorf("Diagnose(%v) = %v, want the same error", err, got)
		}
	}
}

// The cause names the host, project, proxy or layer that is at fault, if the registry's response
// reveals it.
func TestCausesNameTheCulprit(t *testing.T) {
	t.Parallel()
	named := facts("put blob", http.StatusRequestEntityTooLarge)
	named.Server = "nginx"
	for _, c := range []struct {
		e    *client.Error
		want string
	}{
		{named, "nginx in front of the registry"},
		{facts("put blob", http.StatusRequestEntityTooLarge), "the proxy in front of the registry"},
		{facts("put manifest", 400, said("X", "too large")), "accepts no manifest of that size"},
		{facts("put blob", 413, said("X", "y")), "limits the size of a layer"},
		{facts("token", 401), "the token server registry.example"},
		{facts("put blob", 401, basic), "registry.example refuses the login"},
		{facts("token", 403), "grants the user no rights to p/a"},
		{facts("start upload", 404, at("quay.example", "a/b/c")), "3 segments"},
		{facts("put blob", 403, said("X", "quota")), "a quota of p is used up"},
		{facts("start upload", 401, bearer, skewed(-90*time.Second)), "1m30s"},
	} {
		if err := push.Diagnose(c.e); !strings.Contains(err.Error(), c.want) {
			t.Errorf("the error %v does not contain %q", err, c.want)
		}
	}
}
