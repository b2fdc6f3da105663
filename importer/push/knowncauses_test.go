package push_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// answer is a response of a registry to a request of a push.
type answer struct {
	kind string
	// registry is the registry's name in docs/push-targets.md. If it is empty, any registry may
	// send this response.
	registry string
	// on is the kind of requests that get this response. If it is empty, all requests for the
	// repository get it.
	on     string
	status int
	body   string
	header []string
	seen   string // where the response is documented
}

func codes(code, message string) string {
	return fmt.Sprintf(`{"errors":[{"code":%q,"message":%q,"detail":{}}]}`, code, message)
}

// answers returns responses of registries that the tests cannot run. answer.seen is the source of
// each response: the code or the issues of the registry.
func answers() []answer {
	const (
		everything = ""
		upload     = "POST uploads"
		commit     = "PUT uploads"
		manifest   = "PUT manifests"
	)
	nginx := []string{"Server: nginx", "Content-Type: text/html"}
	return []answer{
		{"a quota is used up", "Harbor", commit, 403,
			codes("DENIED", "adding 29.0 MiB of storage resource, which when updated to current usage of 152.4 MiB will exceed the configured upper limit of 10.0 MiB."), nil,
			"goharbor/harbor#17390; DENIED is 403 in src/lib/http/error.go"},
		{"a quota is used up", "Harbor", manifest, 403,
			codes("DENIED", "adding 2.1 MiB of storage resource, which when updated to current usage of 8.3 MiB will exceed the configured upper limit of 10.0 MiB."), nil,
			"goharbor/harbor#11508: also at a manifest"},
		{"a quota is used up", "Quay", upload, 403, codes("DENIED", "Quota has been exceed on namespace"), nil, "quay/quay endpoints/v2/errors.py: QuotaExceeded"},
		{"the registry has no free space", "distribution", upload, 500,
			`{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":"filesystem: write /var/lib/registry/docker/registry/v2/repositories/y/_uploads/01a2/startedat.tmp: no space left on device"}]}`, nil,
			"distribution 3.1.2 over a full tmpfs"},
		{"the registry has no free space", "distribution", upload, 500,
			`{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"DriverName":"filesystem","Enclosed":{"Op":"mkdir","Path":"/var/lib/registry/docker","Err":28}}}]}`, nil,
			"distribution 2.8 registry/storage/driver/storagedriver.go: Error is marshalled with the *os.PathError in it"},
		{"the registry has no free space", "", commit, 507, "", nil, "RFC 4918, section 11.5: WebDAV storages and S3 gateways"},
		{"the tag may not be replaced", "Harbor", manifest, 412, codes("PRECONDITION", "Failed to process request due to 'modules/alpha:v1' configured as immutable."), nil,
			"goharbor/harbor src/server/middleware/immutable"},
		{"the tag may not be replaced", "Amazon ECR", manifest, 400,
			codes("TAG_INVALID", "The image tag 'v1' already exists in the 'alpha' repository and cannot be overwritten because the tag is immutable."), nil, "triggerdotdev/trigger.dev#2473"},
		{"the tag may not be replaced", "Amazon ECR", manifest, 400,
			codes("TAG_INVALID", "The image tag 'latest' already exists in the 'app_service_image' repository and cannot be overwritten because the repository is immutable."), nil, "aws/containers-roadmap#862"},
		{"the tag may not be replaced", "Quay", manifest, 409, codes("TAG_ALREADY_EXISTS", "tag was already pushed"), nil, "quay/quay endpoints/v2/errors.py: TagAlreadyExists"},
		{"the tag may not be replaced", "Nexus", manifest, 400,
			`{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid","detail":"Repository does not allow updating assets: coe-docker"}]}`, nil, "GoogleContainerTools/jib#3057"},
		{"the tag may not be replaced", "Artifactory", manifest, 403,
			`{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{"description":"HTTP 403 Forbidden"}}]}`, nil, "GoogleContainerTools/kaniko#1095"},
		{"a policy of the project blocks the image", "Harbor", "manifests", 412,
			codes("PROJECTPOLICYVIOLATION", "current image with 30 vulnerabilities cannot be pulled due to configured policy in 'Prevent images with vulnerability severity of \"Low\" or higher from running.'"), nil,
			"goharbor/harbor#15885: HEAD is refused as well"},
		{"the project does not exist (Harbor)", "Harbor", upload, 404, codes("NOT_FOUND", "project mirror not found"), nil, "goharbor/harbor src/lib/errors: NOT_FOUND"},
		{"the user may not push", "Harbor", upload, 401,
			codes("UNAUTHORIZED", "unauthorized to access repository: mirror/ee/modules, action: push: unauthorized to access repository: mirror/ee/modules, action: push"), nil, "goharbor/harbor#15236"},
		{"the user may not read", "Harbor", "manifests", 401,
			codes("UNAUTHORIZED", "unauthorized to access repository: mirror/ee/modules, action: pull: unauthorized to access repository: mirror/ee/modules, action: pull"), nil, "goharbor/harbor#13988"},
		{"the registry is read-only, a mirror or a proxy cache", "Harbor", upload, 403, codes("DENIED", "The system is in read only mode. Any modification is prohibited."), nil,
			"goharbor/harbor src/server/middleware/readonly"},
		{"the registry is read-only, a mirror or a proxy cache", "Harbor", upload, 403, codes("DENIED", "can not push artifact to a proxy project: dockerhub"), nil,
			"goharbor/harbor src/server/middleware/repoproxy"},
		{"the registry is read-only, a mirror or a proxy cache", "Harbor", upload, 405, codes("METHOD_NOT_ALLOWED", "can not push artifact to a proxy project: dockerhub"), nil,
			"goharbor/harbor src/server/middleware/repoproxy, until 2.2"},
		{"the registry is read-only, a mirror or a proxy cache", "Quay", upload, 405,
			codes("DENIED", "System is currently read-only. Pulls will succeed but all write operations are currently suspended."), nil, "quay/quay endpoints/v2/errors.py: ReadOnlyMode"},
		{"the user may not push", "Quay", upload, 401, codes("UNAUTHORIZED", "access to the requested resource is not authorized"), nil, "quay/quay endpoints/v2/errors.py: Unauthorized"},
		{"the user may not push", "Artifactory", upload, 403, codes("DENIED", "User is unauthorized to upload to distribution-docker-local/corp/serviceengine/java-sample/_uploads"), nil,
			"jfrog/teamcity-artifactory-plugin#177"},
		{"the user may not read", "Artifactory", "manifests", 403, "", nil, "google/go-containerregistry#1691: 403 to a HEAD of what a virtual repository does not have"},
		{"the repository does not exist (ECR, others)", "Amazon ECR", upload, 404,
			codes("NAME_UNKNOWN", "The repository with name 'mirror/ee/modules' does not exist in the registry with id '123456789012'"), nil, "actions/starter-workflows#2647"},
		{"the repository does not exist (ECR, others)", "", upload, 404, codes("NAME_UNKNOWN", "repository name not known to registry"), nil, "distribution specification: NAME_UNKNOWN"},
		{"the login is wrong or has expired", "Amazon ECR", everything, 403, codes("DENIED", "Your authorization token has expired. Reauthenticate and try again."), nil,
			"Amazon ECR's guide, troubleshooting: 403 with an expired token"},
		{"the name has too many segments", "", everything, 400, codes("NAME_INVALID", "invalid repository name"), nil, "distribution specification; the first request is a HEAD, whose answer has no body"},
		{"the registry limits the size of manifests or layers", "", manifest, 413, codes("SIZE_INVALID", "manifest too large"), nil, "distribution specification, Pushing Manifests: 413 over the limit of the registry"},
		{"a proxy limits the size of requests", "", commit, 413, "<html>\n<head><title>413 Request Entity Too Large</title></head>\n<body>\n<center><h1>413 Request Entity Too Large</h1></center>\n<hr><center>nginx/1.22.1</center>\n</body>\n</html>", nginx,
			"go-gitea/gitea#33646"},
		{"a proxy limits the size of requests", "", manifest, 413, "<html></html>", nginx, "the same"},
		{"the registry lost a part of the image", "Harbor", manifest, 404, codes("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"), nil, "goharbor/harbor#22417"},
		{"the registry refuses the manifest", "Quay", manifest, 400, codes("MANIFEST_INVALID", "manifest invalid"), nil, "quay/quay endpoints/v2/errors.py: ManifestInvalid"},
		{"the clocks differ", "", upload, 401, "", []string{"Date: " + time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}, "RFC 7519: exp and nbf"},
	}
}

// fault returns a fault that sends this response to the requests of the kind a.on.
func (a answer) fault() registrytest.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		kind := registrytest.Request{Method: r.Method, Path: r.URL.Path}.Kind()
		if r.URL.Path == "/v2/" || !strings.HasSuffix(kind, a.on) || a.on == "PUT manifests" && strings.Contains(r.URL.Path, "sha256") {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		for _, line := range a.header {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
		return true
	}
}

func smallSetup(t *testing.T, registry registrytest.Options) *setup {
	t.Helper()
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("modules/alpha")
	l.Tag(l.Image(layouttest.Image{Name: "one", Layers: [][]byte{[]byte("layer")}}), "v1")
	l.Write()
	s := newSetup(t, registry, push.Selection{}, dir)
	s.dial(t, func(o *client.Options) { o.Retries = -1 })
	return s
}

// diagnosed fails the test unless the push fails with a diagnosis of the given kind.
func (s *setup) diagnosed(t *testing.T, kind string) {
	t.Helper()
	summary, err := s.push(t.Context())
	var known *push.Diagnosis
	var side *push.Error
	if !errors.As(err, &known) || known.Kind != kind || known.Remedy == "" || summary.Complete {
		t.Fatalf("%v\n%+v\nwant: %s", err, known, kind)
	}
	if strings.Contains(known.Cause, " :") || strings.HasSuffix(known.Cause, " ") || strings.Contains(known.Cause, "  ") {
		t.Errorf("the cause %q contains an empty name, want a name in each place", known.Cause)
	}
	if !errors.As(err, &side) || side.Side != push.SideUpstream {
		t.Errorf("error of the push: got %v, want an *Error whose side is the registry", err)
	}
	// The diagnosis depends only on the facts in the client's error, with and without a login.
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("error of the push: got %v, want one that wraps a *client.Error", err)
	}
	facts := *e
	facts.Anonymous = facts.Anonymous && facts.Status == http.StatusUnauthorized
	var again *push.Diagnosis
	if !errors.As(push.Diagnose(&facts), &again) || again.Kind != kind {
		t.Errorf("Diagnose of the facts alone: got %+v, want the kind %s", again, kind)
	}
}

// If a push cannot succeed, its error names the cause and says what to do.
func TestAnswersOfRegistries(t *testing.T) {
	t.Parallel()
	for i, a := range answers() {
		t.Run(fmt.Sprintf("%02d %s: %s", i, a.registry, a.kind), func(t *testing.T) {
			s := smallSetup(t, registrytest.Options{Token: a.status == http.StatusUnauthorized})
			s.registry.Inject(a.fault())
			if a.status != http.StatusUnauthorized { // the diagnosis must be the same without a login
				s.dial(t, func(o *client.Options) { o.Retries, o.Credential = -1, client.Credential{} })
			}
			s.diagnosed(t, a.kind)
		})
	}
}

// live returns situations in which a real registry or token server refuses a push.
func live() map[string]struct {
	kind     string
	registry string
	options  registrytest.Options
	prepare  func(t *testing.T, s *setup)
} {
	tokens := registrytest.Options{Token: true}
	answer := func(status int, body string) func(*testing.T, *setup) {
		return func(_ *testing.T, s *setup) {
			s.registry.Tokens.Answer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}))
		}
	}
	as := func(c client.Credential) func(*testing.T, *setup) {
		return func(t *testing.T, s *setup) {
			s.dial(t, func(o *client.Options) { o.Retries, o.Credential = -1, c })
		}
	}
	only := func(action string) func(*testing.T, *setup) {
		return func(_ *testing.T, s *setup) {
			s.registry.Tokens.Grant(func(a string) bool { return a == action })
		}
	}
	wrong := client.Credential{Username: registrytest.Username, Password: "wrong"}
	return map[string]struct {
		kind     string
		registry string
		options  registrytest.Options
		prepare  func(t *testing.T, s *setup)
	}{
		"Basic, wrong password":          {"the login is wrong or has expired", "distribution", registrytest.Options{Basic: true}, as(wrong)},
		"Basic, nobody":                  {"nobody is logged in", "distribution", registrytest.Options{Basic: true}, as(client.Credential{})},
		"tokens, wrong password":         {"the login is wrong or has expired", "distribution", tokens, as(wrong)},
		"tokens, nobody":                 {"nobody is logged in", "distribution", tokens, as(client.Credential{})},
		"the user may push but not read": {"the user may not read", "distribution", tokens, only("push")},
		"the user may read but not push": {"the user may not push", "distribution", tokens, only("pull")},
		"read-only":                      {"the registry is read-only, a mirror or a proxy cache", "distribution", registrytest.Options{ReadOnly: true}, func(*testing.T, *setup) {}},
		// The source of this response is InvalidLogin in v2auth.py of quay/quay.
		"a wrong password": {"the login is wrong or has expired", "Quay", tokens, answer(401, codes("UNAUTHORIZED", "Could not find robot with specified username"))},
		// The source of this response is v2auth.py of quay/quay.
		"a name that is too deep": {"the name has too many segments", "Quay", tokens, answer(400, codes("NAME_INVALID", "Nested repositories are not supported. Found: mirror/ee/modules"))},
		// The response is documented in basecamp/kamal#1498.
		"a password instead of a token": {"the login is wrong or has expired", "GitLab", tokens, answer(401, codes("UNAUTHORIZED", "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or you're required to use a token instead of a password."))},
		// The response is documented in getwud/wud#600.
		"a missing project":            {"the user may not push", "GitLab", tokens, answer(403, codes("DENIED", "access forbidden"))},
		"Docker Hub's incorrect login": {"the login is wrong or has expired", "", tokens, answer(401, `{"details":"incorrect username or password"}`)},
		"a manifest that is too large": {"the registry limits the size of manifests or layers", "distribution", registrytest.Options{}, func(t *testing.T, s *setup) {
			s.registry.Inject(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/v1") {
					// distribution accepts manifests of at most 4 MiB.
					r.Body = io.NopCloser(io.LimitReader(blanks{}, 5<<20))
					r.ContentLength = 5 << 20
				}
				return false
			})
		}},
	}
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestAnswersOfRealRegistries(t *testing.T) {
	t.Parallel()
	for name, test := range live() {
		t.Run(test.registry+" "+name, func(t *testing.T) {
			s := smallSetup(t, test.options)
			test.prepare(t, s)
			s.diagnosed(t, test.kind)
		})
	}
}

// Some causes are recognized only by the name of the host. These registries send the same response
// for a name with too many segments as for a missing repository (docs/push-targets.md).
func TestCausesFoundFromHostNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		host, repository, op string
		status               int
		want                 string
	}{
		{"quay.example", "org/a/b", "start upload", 404, "the name has too many segments"},
		{"quay.example", "org/a/b", "start upload", 405, "the name has too many segments"},
		{"quay.example", "org/a", "start upload", 404, "the repository does not exist (ECR, others)"},
		{"registry.gitlab.example", "group/project/a/b/c", "start upload", 403, "the name has too many segments"},
		{"registry.gitlab.example", "group/project/a/b/c", "head manifest", 401, "the name has too many segments"},
		{"registry.gitlab.example", "group/project/a/b/c", "token", 403, "the name has too many segments"},
		{"registry.gitlab.example", "group/project/a/b/c", "token", 401, "the login is wrong or has expired"},
		{"registry.gitlab.example", "group/project/a", "start upload", 403, "the user may not push"},
		{"123.dkr.ecr.eu-west-1.amazonaws.com", "a", "start upload", 404, "the repository does not exist (ECR, others)"},
		{"registry.example", "a", "start upload", 429, ""},
		{"registry.example", "a", "ping", 503, ""},
	} {
		cause := map[int]error{401: client.ErrUnauthorized, 403: client.ErrDenied, 404: client.ErrNotFound, 405: client.ErrUnsupported, 429: client.ErrRateLimited, 503: client.ErrServer}[test.status]
		err := push.Diagnose(&client.Error{Op: test.op, Host: test.host, Repository: test.repository, Status: test.status, Cause: cause, Side: client.SideRegistry})
		var known *push.Diagnosis
		if errors.As(err, &known) != (test.want != "") || known != nil && known.Kind != test.want {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// docs/push.md lists each cause with its responses. The tests in this file reach each cause, and
// each registry in docs/push-targets.md.
func TestCausesAreDocumented(t *testing.T) {
	t.Parallel()
	reached, registries := map[string]bool{}, map[string]bool{}
	for _, a := range answers() {
		reached[a.kind], registries[a.registry] = true, true
	}
	for _, l := range live() {
		reached[l.kind], registries[l.registry] = true, true
	}
	var want []string
	for _, c := range push.Causes() {
		want = append(want, "| "+c.Kind+" | "+c.Seen+" |")
		if !reached[c.Kind] {
			t.Errorf("no test reaches the cause: %s", c.Kind)
		}
	}
	text, err := os.ReadFile("../../docs/push.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| cause of the failure | how layoutproxy recognizes it |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if diff := cmp.Diff(want, strings.Split(table, "\n")); diff != "" {
		t.Errorf("docs/push.md (-causes +documented):\n%s", diff)
	}
	targets, err := os.ReadFile("../../docs/push-targets.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(string(targets), -1) {
		if !slices.Contains([]string{"After the push"}, m[1]) && !registries[m[1]] {
			t.Errorf("no test has a response of the registry %s", m[1])
		}
	}
}
