package s3

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// credentialsOf returns the credentials in the environment. If there are none, it returns those in
// the credentials file, or else anonymous ones. It uses the network only if the profile in the file has
// AWS SSO, and runs a program only if the profile names one (credential_process).
func credentialsOf(getenv func(string) string) (*credentials.Credentials, error) {
	id, secret := getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")
	if id != "" && secret != "" {
		return credentials.NewStaticV4(id, secret, getenv("AWS_SESSION_TOKEN")), nil
	}
	if id != "" || secret != "" {
		return nil, errors.New("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")
	}
	return fileCredentials(getenv)
}

func fileCredentials(getenv func(string) string) (*credentials.Credentials, error) {
	file, profile := getenv("AWS_SHARED_CREDENTIALS_FILE"), getenv("AWS_PROFILE")
	named := file != "" || profile != ""
	if file == "" {
		home := cmp.Or(getenv("HOME"), getenv("USERPROFILE")) // Windows sets only USERPROFILE
		if home == "" {
			return anonymous(named, errors.New("neither HOME nor USERPROFILE is set"))
		}
		file = filepath.Join(home, ".aws", "credentials")
	}
	if _, err := os.Stat(file); err != nil {
		return anonymous(named, err)
	}
	profile = cmp.Or(profile, "default")
	c := credentials.NewFileAWSCredentials(file, profile)
	if _, err := c.GetWithContext(nil); err != nil {
		return anonymous(named, fmt.Errorf("profile %s in %s: %w", profile, file, err))
	}
	return c, nil
}

// anonymous returns anonymous credentials. If the user named a file or profile, it returns err instead.
func anonymous(named bool, err error) (*credentials.Credentials, error) {
	if named {
		return nil, fmt.Errorf("credentials for the object store: %w", err)
	}
	return credentials.NewStatic("", "", "", credentials.SignatureAnonymous), nil
}
